"""When tokens come from an engine, and when they go to a viewer: pure, the time is given.

A *gap* is the time between two chunks of one answer, what one read or one frame brought.
What is nobody's lateness is left out: the first chunk, which has a measure of its own; the
time in which a tool was called; an engine that we have told to wait; a client that takes
nothing. A gap beyond STALL_S is a *stall* and names its job as an exemplar.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from typing import Final

from stream_broker.events import Event
from stream_broker.spread import Spread

STALL_S: Final = 0.5
_TEXT: Final = frozenset({"token", "reasoning"})
# Spans between clocks that may be set, or of two nodes: beyond this they say nothing.
_SPAN_MAX_S: Final = 3600.0


class Hearing:
    """One call to an engine. Times are of one monotonic clock, in seconds.

    `first` hears how long the first chunk took.
    """

    __slots__ = ("_asked", "_first", "_gaps", "_job_id", "_since")

    def __init__(self, gaps: Spread, job_id: str, first: Callable[[float, str], object]) -> None:
        self._gaps = gaps
        self._job_id = job_id
        self._first = first
        self._asked = 0.0
        self._since = 0.0

    def asked(self, at: float) -> None:
        """The call begins."""
        self._asked = at

    def chunk(self, at: float) -> None:
        """The hot path: a read has brought something of the answer."""
        since, self._since = self._since, at
        if since:
            gap = at - since
            if gap > STALL_S:
                self._gaps.add(gap, self._job_id)
                return
            spread = self._gaps
            spread.counts[bisect_left(spread.bounds, gap)] += 1
            spread.total += gap
        elif self._asked:
            self._first(at - self._asked, self._job_id)
            self._asked = 0.0

    def pause(self) -> None:
        """The engine is told to wait: what it says next is not late."""
        self._since = 0.0


class Delivery:
    """One viewer of one job. Times are of one monotonic clock, in seconds.

    `first` is called at the first text, where the viewer was there before it.
    """

    __slots__ = ("_first", "_gaps", "_job_id", "_since")

    def __init__(self, gaps: Spread, job_id: str, first: Callable[[], object] | None) -> None:
        self._gaps = gaps
        self._job_id = job_id
        self._first = first
        self._since = 0.0

    def frame(self, last: Event, at: float) -> None:
        """The hot path: a frame that ends with `last` was written."""
        name = last.name
        if name == "token" or name in _TEXT:
            since, self._since = self._since, at
            if since:
                gap = at - since
                if gap > STALL_S:
                    self._gaps.add(gap, self._job_id)
                    return
                spread = self._gaps
                spread.counts[bisect_left(spread.bounds, gap)] += 1
                spread.total += gap
            elif self._first is not None:
                self._first()
                self._first = None
        elif name != "notice":
            self._since = 0.0

    def pause(self) -> None:
        """The client does not take it as fast as it comes: that is not ours."""
        self._since = 0.0


def span(began: float, now: float) -> float | None:
    """Seconds between two Unix times; None where the clocks cannot be believed."""
    seconds = now - began
    return seconds if 0 <= seconds <= _SPAN_MAX_S else None
