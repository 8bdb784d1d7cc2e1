"""How much the jobs of a process may hold that their log does not have yet. Pure.

While one log takes less than all engines say, every running job would fill its own bound:
the bound that counts is then that of all of them. Nobody waits for another's share: a job
pauses when it holds more than its part, and reads on when the log has taken half of that.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

# What all jobs may hold beyond what each may in any case; in memory it is about twice as
# much. Also the time that a token waits for its turn in the log when engines outrun it.
TOTAL: Final = 8 << 20
# A job that is alone there gets on with this much, so what others hold never stops it.
LEAST: Final = 4 << 10
# The part of what is left that one job may have. Eight that hold all they can leave half.
_PART: Final = 8

Told = Callable[[str], object]


class Backlog:
    """What all jobs share. `most`: bytes that one of them may hold at the most.

    `held`: bytes that they hold beyond `least` each. `told` hears each time an engine is
    paused which bound it was: that of its `job`, or that of the `broker`.
    """

    __slots__ = ("_told", "_total", "held", "least", "most")

    def __init__(self, most: int, told: Told = lambda _: None, total: int = TOTAL) -> None:
        self.most = most
        self.least = min(LEAST, most)
        self.held = 0
        self._told = told
        self._total = total

    @property
    def room(self) -> int:
        """What a job may hold now: the less, the more all of them hold."""
        left = self._total - self.held
        return min(self.most, self.least + left // _PART) if left > 0 else self.least

    def paused(self, unwritten: int) -> None:
        """An engine is paused whose job holds so many bytes."""
        self._told("job" if unwritten > self.most else "broker")


class Share:
    """One job's part of a backlog. It is told how much the job holds whenever that changes."""

    __slots__ = ("_backlog", "_held")

    def __init__(self, backlog: Backlog) -> None:
        self._backlog = backlog
        self._held = 0

    def full(self, unwritten: int) -> bool:
        """Does a job that holds so many bytes hold too much? The engine is to be paused."""
        if unwritten <= self._backlog.least and not self._held:
            # Nearly every call: the log keeps up.
            return False
        self._hold(unwritten)
        return unwritten > self._backlog.room

    def taken(self, unwritten: int) -> bool:
        """The log has taken some, so many bytes are left: may a paused engine go on?"""
        if self._held:
            self._hold(unwritten)
        return not unwritten or unwritten < self._backlog.room // 2

    def paused(self, unwritten: int) -> None:
        """The engine is paused: counts it."""
        self._backlog.paused(unwritten)

    def give_back(self) -> None:
        """The job is over here, whatever became of what it held. Idempotent."""
        self._hold(0)

    def _hold(self, unwritten: int) -> None:
        held = max(0, unwritten - self._backlog.least)
        self._backlog.held += held - self._held
        self._held = held
