"""Deadlines of many, rounded up to ticks, so that one timer serves them all. Pure."""

from __future__ import annotations

import heapq
import math
from typing import Generic, TypeVar

T = TypeVar("T")


class Wheel(Generic[T]):
    """Items by the tick in which they are due; `tick` and all times are in seconds.

    An item may be added again at any time: what is added twice comes twice.
    """

    __slots__ = ("_slots", "_tick", "_ticks")

    def __init__(self, tick: float) -> None:
        self._tick = tick
        self._slots: dict[int, list[T]] = {}
        self._ticks: list[int] = []

    @property
    def next_at(self) -> float | None:
        """When the first are due; None when there are none."""
        return self._ticks[0] * self._tick if self._ticks else None

    def add(self, item: T, at: float) -> float:
        """Puts an item into the first tick that is not before `at`. Returns its time."""
        tick = math.ceil(at / self._tick)
        slot = self._slots.get(tick)
        if slot is None:
            self._slots[tick] = [item]
            heapq.heappush(self._ticks, tick)
        else:
            slot.append(item)
        return tick * self._tick

    def take(self, now: float) -> list[T]:
        """Takes out what is due at `now`, in order of its ticks."""
        due: list[T] = []
        while self._ticks and self._ticks[0] * self._tick <= now:
            due += self._slots.pop(heapq.heappop(self._ticks))
        return due
