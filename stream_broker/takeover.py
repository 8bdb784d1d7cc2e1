"""Looks for jobs whose relay has died, and goes on with them here."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from contextlib import suppress

from stream_broker.events import Event
from stream_broker.followers import Followers
from stream_broker.log.base import LogUnavailable
from stream_broker.log.redis import RedisLog
from stream_broker.metrics import BrokerMetrics
from stream_broker.outages import Outages
from stream_broker.running import Runner
from stream_broker.tasks import together

_LOG = logging.getLogger(__name__)
_READ_BYTES = 1 << 20
# A takeover begins the relay's TTL, this margin and at most 1.25 sweeps after its last renewal.
MARGIN_S = 0.3
EVERY_S = 0.25
# A crowd of viewers that come back must not make a sweep of each.
_PAUSE_S = 0.02


class Sweeper:
    """Takes over orphans of every home. `every`, `margin` and `hold_off` are in seconds.

    A job counts as orphaned once its lease has ended for `margin`; whoever asks first
    gets it, under the next epoch, and the old relay's appends are refused from then on.
    After an absence of a home's log nothing is taken over for `hold_off`, so that relays
    that live can renew first. `clock` gives Unix seconds.
    """

    def __init__(
        self,
        log: RedisLog,
        tags: tuple[str, ...],
        runner: Runner,
        followers: Followers,
        metrics: BrokerMetrics,
        outages: Outages,
        *,
        every: float = EVERY_S,
        margin: float = MARGIN_S,
        hold_off: float,
        clock: Callable[[], float],
    ) -> None:
        self._log = log
        self._wakes = {tag: asyncio.Event() for tag in tags}
        self._runner = runner
        self._followers = followers
        self._metrics = metrics
        self._outages = outages
        self._every = every
        self._margin = margin
        self._hold_off = hold_off
        self._clock = clock
        self.draining = False

    async def run(self) -> None:
        """Sweeps until cancelled. Homes do not wait for each other."""
        await together(*(self._sweep_home(tag) for tag in self._wakes))

    def look(self) -> None:
        """Somebody asks for a job that is not relayed here: its relay may have died."""
        for wake in self._wakes.values():
            wake.set()

    async def _sweep_home(self, tag: str) -> None:
        while True:
            await self._pause(self._wakes[tag])
            try:
                await self._sweep(tag)
            except LogUnavailable as error:
                self._outages.away(tag, self._clock())
                _LOG.debug("no sweep of %s: %s", tag, error)
            except Exception:
                _LOG.exception("no sweep of %s", tag)

    async def _pause(self, wake: asyncio.Event) -> None:
        """Not in step with the other brokers; less when somebody asks."""
        # Not for secrets.
        every = self._every * random.uniform(0.75, 1.25)  # noqa: S311
        with suppress(TimeoutError):
            async with asyncio.timeout(every):
                await wake.wait()
        wake.clear()
        await asyncio.sleep(min(_PAUSE_S, self._every))

    async def _sweep(self, tag: str) -> None:
        """Takes over all orphans of a home, as many at once as the log names at once."""
        while True:
            orphans = await self._log.orphans(tag, self._margin)
            now = self._clock()
            self._outages.answered(tag, now)
            if self.draining or self._outages.quiet_for(tag, now) < self._hold_off:
                return
            # All brokers are told of the same ones.
            random.shuffle(orphans)
            taken = await together(*(self._try_take_over(job, tag) for job in orphans))
            if not any(taken):
                return

    async def _try_take_over(self, job_id: str, tag: str) -> bool:
        """A job that cannot be taken over must not keep the others from it."""
        try:
            return await self._take_over(job_id, tag)
        except LogUnavailable as error:
            _LOG.debug("%s: not taken over: %s", job_id, error)
        except Exception:
            _LOG.exception("%s: cannot be taken over", job_id)
        return False

    async def _take_over(self, job_id: str, tag: str) -> bool:
        live = self._runner.jobs.get(job_id)
        if live is not None and live.window.moved:
            # Just given up here: somebody else's.
            return False
        if live is not None:
            # Ours: the lease lapsed while this process or the log was slow.
            if await self._log.renew({job_id: live.epoch}):
                live.superseded()
            return False
        asked_at = self._runner.monotonic()
        orphan = await self._log.acquire(job_id, self._margin)
        if orphan is None:
            return False
        if orphan.state.end_name is not None:
            await self._runner.settle_for(orphan.state)
            _LOG.warning("%s: had ended and was not settled", job_id)
            return True
        events = await self._read_all(job_id, orphan.state.last_seq)
        # Cancellations of this home's jobs now concern this process.
        self._followers.listen(tag)
        self._runner.take_over(orphan, events, leased_at=asked_at)
        self._metrics.takeovers.inc()
        took = self._runner.monotonic() - asked_at
        self._metrics.takeover_seconds.observe(orphan.lapsed + took)
        if await self._log.cancelled(job_id):
            # Asked for after `acquire`, when nobody here had the job yet.
            self._runner.cancel(job_id, "client")
        _LOG.warning("%s: taken over at event %d", job_id, orphan.state.last_seq)
        return True

    async def _read_all(self, job_id: str, last: int) -> list[Event]:
        events: list[Event] = []
        while len(events) < last:
            page = await self._log.read(job_id, len(events), _READ_BYTES)
            if not page:
                break
            events += page
        return events
