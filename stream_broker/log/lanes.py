"""A writer for each lane of a log: a home that does not answer holds up no other's flush."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from weakref import WeakKeyDictionary

from stream_broker.events import Event
from stream_broker.log.redis import RedisLog
from stream_broker.log.writer import LogWriter, Shown, Told, Writable

# What a flush waits for more at most (seconds): a millisecond's tokens share one
# acknowledgement. Of the latency that a token may have, half of it on the average.
GATHER_S = 0.001


class LaneWriters:
    """A LogWriter that is one for each lane. Most jobs of a process are of its own home."""

    def __init__(
        self,
        log: RedisLog,
        clock: Callable[[], float],
        gather: float = GATHER_S,
        told: Told | None = None,
        shown: Shown | None = None,
    ) -> None:
        self._log = log
        self._clock = clock
        self._gather = gather
        self._told = told
        self._shown = shown
        self._by_lane: dict[str, LogWriter] = {}
        self._by_job: WeakKeyDictionary[Writable, LogWriter] = WeakKeyDictionary()
        self._opened: asyncio.Queue[LogWriter] = asyncio.Queue()

    @property
    def flushes(self) -> int:
        """Flushes that were answered."""
        return sum(writer.flushes for writer in self._by_lane.values())

    @property
    def failures(self) -> int:
        """Flushes that were not."""
        return sum(writer.failures for writer in self._by_lane.values())

    @property
    def waiting(self) -> int:
        """Events that are queued or on their way."""
        return sum(writer.waiting for writer in self._by_lane.values())

    def add(self, job: Writable, events: list[Event]) -> None:
        """See LogWriter."""
        self.of(job).add(job, events)

    def of(self, job: Writable) -> LogWriter:
        """The writer of its lane."""
        writer = self._by_job.get(job)
        if writer is None:
            writer = self._by_job[job] = self._of(job.job_id)
        return writer

    def drop(self, job: Writable) -> None:
        """See LogWriter."""
        writer = self._by_job.get(job)
        if writer is not None:
            writer.drop(job)

    async def run(self) -> None:
        """See LogWriter."""
        async with asyncio.TaskGroup() as group:
            while True:
                writer = await self._opened.get()
                group.create_task(writer.run())

    async def drained(self) -> None:
        """See LogWriter."""
        for writer in tuple(self._by_lane.values()):
            await writer.drained()

    def _of(self, job_id: str) -> LogWriter:
        lane = self._log.lane(job_id)
        writer = self._by_lane.get(lane)
        if writer is None:
            writer = self._by_lane[lane] = LogWriter(
                self._log, self._clock, self._gather, self._told, shown=self._shown
            )
            self._opened.put_nowait(writer)
        return writer
