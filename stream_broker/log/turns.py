"""Whose events the next flush of a log takes. Pure.

Nearly always everybody's: the log keeps up. Where engines outrun it, a flush has two halves.
One is for the jobs with the least to write, so that a token now and then waits for no answer
that floods; in the other all have their turns, so that nobody waits for ever.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Generic, TypeVar

from stream_broker.events import OVERHEAD, Event

# One flush: what the log writes, and this process encodes and shows, in some 20 ms.
FLUSH_EVENTS: Final = 1024
# One event more, if that is larger than what is left of it: it has to go some time.
FLUSH_BYTES: Final = 512 << 10
# What one job may have in its turn at least: an append costs as much as several events.
TURN_EVENTS: Final = 128

Job = TypeVar("Job")


class Turns(Generic[Job]):
    """What jobs have to write, in the order in which they had their last turn.

    `events` and `size` bound what one flush takes, by number and by bytes.
    """

    def __init__(self, events: int = FLUSH_EVENTS, size: int = FLUSH_BYTES) -> None:
        self._events = events
        self._size = size
        self._queues: dict[Job, list[Event]] = {}
        self._count = 0

    def __bool__(self) -> bool:
        return bool(self._queues)

    def __len__(self) -> int:
        """Events, of all jobs."""
        return self._count

    def __contains__(self, job: Job) -> bool:
        return job in self._queues

    def __iter__(self) -> Iterator[Job]:
        return iter(tuple(self._queues))

    def add(self, job: Job, events: list[Event]) -> None:
        """More of a job, in order. A job that had nothing here comes last."""
        queue = self._queues.get(job)
        if queue is None:
            self._queues[job] = list(events)
        else:
            queue.extend(events)
        self._count += len(events)

    def drop(self, job: Job) -> None:
        """Forgets what there is of a job."""
        self._count -= len(self._queues.pop(job, ()))

    def take(self) -> list[tuple[Job, list[Event]]]:
        """The next flush: the beginning of what some jobs have, which stays until `done`."""
        if self._count <= self._events:
            whole = [(job, events[:]) for job, events in self._queues.items()]
            if sum([_size(events) for _, events in whole]) <= self._size:
                return whole
        return self._share()

    def done(self, job: Job, count: int) -> None:
        """So many events of a job are written; with what is left it comes last."""
        left = self._queues.pop(job)
        self._count -= min(count, len(left))
        if len(left) > count:
            self._queues[job] = left[count:]

    def _share(self) -> list[tuple[Job, list[Event]]]:
        """One half to those with the least, all that they have; the rest by turns."""
        taken: dict[Job, list[Event]] = {}
        room, size = self._events // 2, self._size // 2
        for job in sorted(self._queues, key=lambda job: len(self._queues[job])):
            events = self._queues[job]
            if len(events) > room:
                break
            if (its := _size(events)) <= size:
                taken[job] = events[:]
                room -= len(events)
                size -= its
        room += self._events - self._events // 2
        size += self._size - self._size // 2
        others = [job for job in self._queues if job not in taken]
        return [*taken.items(), *self._in_turn(others, room, size)]

    def _in_turn(self, jobs: list[Job], room: int, size: int) -> Iterator[tuple[Job, list[Event]]]:
        """The first of them has its turn in any case, if only for one event."""
        least, turn = 1, max(TURN_EVENTS, room // max(1, len(jobs)))
        for job in jobs:
            events = self._queues[job]
            part = _fitting(events[: min(room, turn)], size) or events[:least]
            if not part:
                return
            yield job, part
            least = 0
            room -= len(part)
            size -= _size(part)


def _size(events: list[Event]) -> int:
    return sum([len(event.data) for event in events]) + OVERHEAD * len(events)


def _fitting(events: list[Event], size: int) -> list[Event]:
    """As many as `size` bytes have room for."""
    for number, event in enumerate(events):
        size -= event.size
        if size < 0:
            return events[:number]
    return events
