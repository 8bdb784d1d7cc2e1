"""Looks for jobs whose relay has died, and goes on with them here."""

from __future__ import annotations

import asyncio
import logging

from stream_broker.events import Event
from stream_broker.followers import Followers
from stream_broker.log.base import LogUnavailable
from stream_broker.log.redis import RedisLog
from stream_broker.metrics import BrokerMetrics
from stream_broker.running import Runner

_LOG = logging.getLogger(__name__)
_READ_BYTES = 1 << 20


class Sweeper:
    """Takes over orphans of every home. `every`, `margin` and `respite` are in seconds.

    A job counts as orphaned once its lease has ended for `margin`; whoever asks first
    gets it, under the next epoch, and the old relay's appends are refused from then on.
    After an outage of a home, `respite` is what its live relays have for renewing.
    """

    def __init__(
        self,
        log: RedisLog,
        tags: tuple[str, ...],
        runner: Runner,
        followers: Followers,
        metrics: BrokerMetrics,
        *,
        every: float = 0.5,
        margin: float = 0.5,
        respite: float = 1.0,
    ) -> None:
        self._log = log
        self._tags = tags
        self._runner = runner
        self._followers = followers
        self._metrics = metrics
        self._every = every
        self._margin = margin
        self._respite = respite
        self.draining = False

    async def run(self) -> None:
        """Sweeps until cancelled; each home by itself: one may not answer."""
        async with asyncio.TaskGroup() as group:
            for tag in self._tags:
                group.create_task(self._sweep(tag))

    async def _sweep(self, tag: str) -> None:
        away = False
        while True:
            await asyncio.sleep(self._every)
            if self.draining:
                continue
            try:
                orphans = await self._log.orphans(tag, self._margin)
                if away:
                    # Live relays could not renew either: first they get the time to.
                    away = False
                    await asyncio.sleep(self._respite)
                    continue
                for job_id in orphans:
                    await self._try_take_over(job_id, tag)
            except LogUnavailable as error:
                away = True
                _LOG.debug("no sweep of %s: %s", tag, error)

    async def _try_take_over(self, job_id: str, tag: str) -> None:
        """A job that cannot be taken over must not keep the others from it."""
        try:
            await self._take_over(job_id, tag)
        except LogUnavailable:
            raise
        except Exception:
            _LOG.exception("%s: cannot be taken over", job_id)

    async def _take_over(self, job_id: str, tag: str) -> None:
        live = self._runner.jobs.get(job_id)
        if live is not None and live.window.moved:
            # Just given up here: somebody else's.
            return
        if live is not None:
            # Ours: the lease lapsed while this process or the log was slow.
            await self._log.renew([job_id])
            return
        orphan = await self._log.acquire(job_id, self._margin)
        if orphan is None:
            return
        events = await self._read_all(job_id, orphan.state.last_seq)
        # Cancellations of this home's jobs now concern this process.
        self._followers.listen(tag)
        self._runner.take_over(orphan, events)
        self._metrics.takeovers.inc()
        if await self._log.cancelled(job_id):
            # Asked for after `acquire`, when nobody here had the job yet.
            self._runner.cancel(job_id, "client")
        _LOG.warning("%s: taken over at event %d", job_id, orphan.state.last_seq)

    async def _read_all(self, job_id: str, last: int) -> list[Event]:
        events: list[Event] = []
        while len(events) < last:
            page = await self._log.read(job_id, len(events), _READ_BYTES)
            if not page:
                break
            events += page
        return events
