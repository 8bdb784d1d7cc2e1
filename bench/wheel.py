"""Things that fall due, to the millisecond: one timer for all streams. Pure."""

from __future__ import annotations

from typing import Generic, TypeVar

T = TypeVar("T")


class Wheel(Generic[T]):
    """Slots of one millisecond. An item is never taken before its time."""

    def __init__(self, now: float) -> None:
        self._next = int(now * 1000)
        self._slots: dict[int, list[T]] = {}

    def add(self, when: float, item: T) -> None:
        """`item` falls due at `when`; at the next `take` if that is past."""
        slot = max(int(when * 1000) + 1, self._next)
        self._slots.setdefault(slot, []).append(item)

    def take(self, now: float) -> list[T]:
        """What has fallen due until `now`, in order of time."""
        due: list[T] = []
        until = int(now * 1000) + 1
        for slot in range(self._next, until):
            due += self._slots.pop(slot, ())
        self._next = max(self._next, until)
        return due
