"""The one writer of a log in a process: all jobs' new events in one flush after another.

While a flush is under way the next one gathers; so the log is asked once per round
trip, however many tokens arrive, and at most once in `gather` seconds: the first token
after a silence goes at once, under load each flush carries several. When there is more than
one flush may carry, `turns.py` says whose events it carries. A flush that fails is
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
from stream_broker.log.turns import Turns

_LOG = logging.getLogger(__name__)
_RETRY_S = (0.05, 0.1, 0.2)

Told = Callable[[float, bool], object]
Shown = Callable[[float, float], object]


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
    `shown` hears of each flush, once who listens was told of it, how many seconds its oldest
    event took until it was durable, and how many of all that were not the log's.
    """

    def __init__(
        self,
        log: EventLog,
        clock: Callable[[], float],
        gather: float = 0.0,
        told: Told | None = None,
        turns: Turns[Writable] | None = None,
        shown: Shown | None = None,
    ) -> None:
        self._log = log
        self._clock = clock
        self._gather_s = gather
        self._told = told
        self._shown = shown
        self._oldest: float | None = None
        self._free_at = float("-inf")
        self._turns: Turns[Writable] = Turns() if turns is None else turns
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self.flushes = 0
        self.failures = 0

    @property
    def waiting(self) -> int:
        """Events that are queued or on their way."""
        return len(self._turns)

    def add(self, job: Writable, events: list[Event]) -> None:
        """Queues events. The bound is the job's: it pauses its engine (`live.py`)."""
        self._turns.add(job, events)
        if self._oldest is None:
            self._oldest = self._clock()
        self._idle.clear()
        self._wake.set()

    def drop(self, job: Writable) -> None:
        """Forgets what is queued for a job."""
        self._turns.drop(job)

    async def run(self) -> None:
        """Flushes until cancelled."""
        now = asyncio.get_running_loop().time
        began = float("-inf")
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._turns:
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
        batch = self._turns.take()
        taken_at = self._clock()
        oldest, self._oldest = self._oldest or taken_at, None
        outcomes = await self._write([job.to_append(events) for job, events in batch])
        # What waits for a flush that is under way waits for the log.
        own = taken_at - max(oldest, self._free_at)
        durable_at = self._free_at = self._clock()
        for (job, events), outcome in zip(batch, outcomes, strict=True):
            if job not in self._turns:
                continue
            self._turns.done(job, len(events))
            if outcome == "stored":
                job.stored(events[-1].seq)
            else:
                self.drop(job)
                job.refused(outcome)
        if self._turns and self._oldest is None:
            # What this flush had no room for has waited as long as what it took.
            self._oldest = oldest
        if self._shown is not None:
            self._shown(durable_at - oldest, own + self._clock() - durable_at)

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
                for job in self._turns:
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
