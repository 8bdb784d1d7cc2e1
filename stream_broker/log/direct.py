"""The writer of a log that takes events at once: durability `none`, no batch, no task.

An event is shown in the same turn of the loop in which the engine said it.
"""

from __future__ import annotations

from stream_broker.events import Event
from stream_broker.log.memory import MemoryLog
from stream_broker.log.writer import Writable


class DirectWriter:
    """A log writer over memory. What is added is stored when `add` returns."""

    __slots__ = ("log",)

    def __init__(self, log: MemoryLog) -> None:
        self.log = log

    def add(self, job: Writable, events: list[Event]) -> None:
        """Stores events and says so."""
        outcome = self.log.extend(job.job_id, events) or self.log.put(job.to_append(events))
        if outcome == "stored":
            job.stored(events[-1].seq)
        else:
            job.refused(outcome)

    def drop(self, job: Writable) -> None:
        """Nothing is queued."""
