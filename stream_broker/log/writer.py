"""The one writer of a log in a process: all jobs' new events in one flush after another.

While a flush is under way the next one gathers; so the log is asked once per round
trip, however many tokens arrive, and at most once in `gather` seconds: the first token
after a silence goes at once, under load each flush carries several. A flush that fails is
repeated until it is answered: appends are numbered and fenced, so a repetition writes
nothing twice.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Protocol

from stream_broker.events import Event
from stream_broker.log.base import Append, EventLog, LogUnavailable, Outcome

_LOG = logging.getLogger(__name__)
_RETRY_S = (0.05, 0.1, 0.2)
_FLUSH_EVENTS = 2048

Told = Callable[[float, bool], object]


class Writable(Protocol):
    """A job whose events are written."""

    @property
    def job_id(self) -> str:
        """Its id."""

    def to_append(self, events: list[Event]) -> Append:
        """The events with what belongs to them."""

    def stored(self, last: int) -> None:
        """The log holds everything up to `last`, durably."""

    def refused(self, outcome: Outcome) -> None:
        """The log will never take more of this job from us."""

    def log_away(self, since: float) -> None:
        """The log has not answered since the monotonic time `since`."""


class Writer(Protocol):
    """Where a job's events go to be written."""

    def add(self, job: Writable, events: list[Event]) -> None:
        """Queues events of a job, in order."""

    def drop(self, job: Writable) -> None:
        """Forgets what is queued for a job."""


class LogWriter:
    """Batches appends of all jobs. `run` is owned by the composition root.

    `told` hears how each attempt ended: after how many seconds of its flush, and whether well.
    """

    def __init__(
        self,
        log: EventLog,
        clock: Callable[[], float],
        gather: float = 0.0,
        told: Told | None = None,
    ) -> None:
        self._log = log
        self._clock = clock
        self._gather_s = gather
        self._told = told
        self._queues: dict[Writable, list[Event]] = {}
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self.flushes = 0
        self.failures = 0

    def add(self, job: Writable, events: list[Event]) -> None:
        """Queues events. The bound is the job's: it pauses its engine (`live.py`)."""
        queue = self._queues.get(job)
        if queue is None:
            self._queues[job] = list(events)
        else:
            queue.extend(events)
        self._idle.clear()
        self._wake.set()

    def drop(self, job: Writable) -> None:
        """Forgets what is queued for a job."""
        self._queues.pop(job, None)

    async def run(self) -> None:
        """Flushes until cancelled."""
        now = asyncio.get_running_loop().time
        began = float("-inf")
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._queues:
                early = began + self._gather_s - now()
                if early > 0:
                    await asyncio.sleep(early)
                began = now()
                await self._flush()
            self._idle.set()

    async def drained(self) -> None:
        """Returns once nothing is queued; the caller sets the time limit."""
        await self._idle.wait()

    async def _flush(self) -> None:
        batch = self._take()
        outcomes = await self._write([job.to_append(events) for job, events in batch])
        for (job, events), outcome in zip(batch, outcomes, strict=True):
            if job not in self._queues:
                continue
            self._forget(job, len(events))
            if outcome == "stored":
                job.stored(events[-1].seq)
            else:
                self.drop(job)
                job.refused(outcome)

    def _take(self) -> list[tuple[Writable, list[Event]]]:
        """The oldest queues first, each whole up to the size of a flush."""
        room = _FLUSH_EVENTS
        batch = []
        for job, events in self._queues.items():
            part = events[:room]
            batch.append((job, part))
            room -= len(part)
            if room <= 0:
                break
        return batch

    def _forget(self, job: Writable, count: int) -> None:
        queue = self._queues.pop(job)
        if len(queue) > count:
            self._queues[job] = queue[count:]

    async def _write(self, batch: list[Append]) -> list[Outcome]:
        since = self._clock()
        attempt = 0
        while True:
            try:
                outcomes = await self._log.append(batch)
            except Exception as error:
                # A fault of ours is waited out too, within each job's bounds: an end of
                # this task would leave every job here without one.
                self._count(since, stored=False)
                if attempt == 0:
                    fault = None if isinstance(error, LogUnavailable) else error
                    _LOG.warning("the event log does not answer: %s", error, exc_info=fault)
                for job in tuple(self._queues):
                    job.log_away(since)
                await asyncio.sleep(_RETRY_S[min(attempt, len(_RETRY_S) - 1)])
                attempt += 1
            else:
                self._count(since, stored=True)
                if attempt:
                    _LOG.warning("the event log answers again after %d attempts", attempt)
                return outcomes

    def _count(self, since: float, *, stored: bool) -> None:
        if stored:
            self.flushes += 1
        else:
            self.failures += 1
        if self._told is not None:
            self._told(self._clock() - since, stored)
