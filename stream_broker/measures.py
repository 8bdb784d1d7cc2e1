"""When tokens come from an engine, and when they go to a viewer: pure, the time is given.

A *gap* is the time between two chunks of one answer, what one read or one frame brought.
What is nobody's lateness is left out: the first chunk, which has a measure of its own; the
time in which a tool was called; an engine that we have told to wait; a client that takes
nothing. A gap beyond STALL_S is a *stall* and names its job as an exemplar.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable
from typing import Final

from stream_broker.events import Event
from stream_broker.spread import Spread

STALL_S: Final = 0.5
_TEXT: Final = frozenset({"token", "reasoning"})
# Spans between clocks that may be set, or of two nodes: beyond this they say nothing.
_SPAN_MAX_S: Final = 3600.0


class _Gaps:
    """The gaps of one stream of chunks. Times are of one monotonic clock, in seconds.

    A gap is nearly always in the same bucket as the one before it: those are counted here,
    with two comparisons, and brought to the spread together, at another gap or by `fold`.
    """

    __slots__ = (
        "__weakref__",
        "_begun",
        "_bucket",
        "_fresh",
        "_high",
        "_job_id",
        "_low",
        "_run",
        "_since",
        "_spread",
    )

    def __init__(self, spread: Spread, job_id: str) -> None:
        self._spread = spread
        self._job_id = job_id
        self._since = self._begun = 0.0
        self._run = self._bucket = 0
        self._low = self._high = math.inf
        self._fresh = True
        spread.counters.add(self)

    def pause(self) -> None:
        """What comes next is not late."""
        self.fold()
        self._fresh = True
        self._low = math.inf

    def fold(self) -> None:
        """Brings to the spread what was counted here."""
        if self._run:
            self._fold(self._since)

    def _fold(self, until: float) -> None:
        self._spread.counts[self._bucket] += self._run
        self._spread.total += until - self._begun
        self._begun = until
        self._run = 0

    def _turn(self, gap: float) -> bool:
        """A gap of another bucket, or none yet. Returns whether it is the first chunk."""
        now = self._since
        if self._fresh:
            self._fresh = False
            self._begun = now
            return True
        if self._run:
            self._fold(now - gap)
        self._begun = now
        stalled = gap > STALL_S
        self._spread.add(gap, self._job_id if stalled else None)
        bounds = self._spread.bounds
        self._bucket = bucket = bisect_left(bounds, gap)
        # Each stall is looked at for itself.
        self._low = math.inf if stalled else bounds[bucket - 1] if bucket else -math.inf
        self._high = math.inf if stalled else bounds[bucket]
        return False


class Hearing(_Gaps):
    """One call to an engine. `first` hears how long the first chunk took."""

    __slots__ = ("_asked", "_first")

    def __init__(self, spread: Spread, job_id: str, first: Callable[[float, str], object]) -> None:
        super().__init__(spread, job_id)
        self._first = first
        self._asked = 0.0

    def asked(self, at: float) -> None:
        """The call begins."""
        self._asked = at

    def chunk(self, at: float) -> None:
        """The hot path: a read has brought something of the answer."""
        gap = at - self._since
        self._since = at
        if self._low < gap <= self._high:
            self._run += 1
        elif self._turn(gap) and self._asked:
            self._first(at - self._asked, self._job_id)
            self._asked = 0.0


class Delivery(_Gaps):
    """One viewer of one job.

    `first` is called at the first text, where the viewer was there before it.
    """

    __slots__ = ("_first",)

    def __init__(self, spread: Spread, job_id: str, first: Callable[[], object] | None) -> None:
        super().__init__(spread, job_id)
        self._first = first

    def frame(self, last: Event, at: float) -> None:
        """The hot path: a frame that ends with `last` was written."""
        name = last.name
        if name == "token" or name in _TEXT:
            gap = at - self._since
            self._since = at
            if self._low < gap <= self._high:
                self._run += 1
            elif self._turn(gap) and self._first is not None:
                self._first()
                self._first = None
        elif name != "notice":
            self.pause()


def span(began: float, now: float) -> float | None:
    """Seconds between two Unix times; None where the clocks cannot be believed."""
    seconds = now - began
    return seconds if 0 <= seconds <= _SPAN_MAX_S else None
