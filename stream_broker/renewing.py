"""Keeps the relays of this process alive in the log: one call per home for all its jobs."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable, Mapping
from typing import Any

from stream_broker.ids import Home, home_of
from stream_broker.live import LiveJob
from stream_broker.log.base import LogUnavailable
from stream_broker.log.redis import RedisLog
from stream_broker.tasks import together

_LOG = logging.getLogger(__name__)


async def renewing(
    log: RedisLog,
    jobs: Mapping[str, LiveJob],
    also: Callable[[], Coroutine[Any, Any, bool]],
    *,
    ttl: float,
    monotonic: Callable[[], float],
) -> None:
    """Renews the leases of `jobs` until cancelled, sooner after a failure; `also` is called
    each time, and returns whether it went well. `ttl` in seconds."""
    while True:
        renewed = await together(
            *(_renew_home(log, home, monotonic) for home in _by_home(jobs)), also()
        )
        await asyncio.sleep(ttl / 4 if all(renewed) else ttl / 16)


async def _renew_home(log: RedisLog, jobs: list[LiveJob], monotonic: Callable[[], float]) -> bool:
    """Homes do not wait for each other: only the jobs of one that is away lapse."""
    asked_at = monotonic()
    try:
        others = await log.renew({live.job_id: live.epoch for live in jobs})
    except LogUnavailable as error:
        _LOG.debug("relay leases not renewed: %s", error)
        return False
    for live in jobs:
        if live.job_id in others:
            live.superseded()
        else:
            live.renewed(asked_at)
    return True


def _by_home(jobs: Mapping[str, LiveJob]) -> Iterable[list[LiveJob]]:
    homes: dict[Home | None, list[LiveJob]] = {}
    for job_id, live in jobs.items():
        if live.head.durability != "none" and not live.window.moved:
            homes.setdefault(home_of(job_id), []).append(live)
    return homes.values()
