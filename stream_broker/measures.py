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


class ChunkGaps:
    """The gaps of one stream of chunks. Times are of one monotonic clock, in seconds.

    A gap is nearly always in the same bucket as the one before it: `low` (exclusive) to `high`.
    Those are counted in `run`, and brought to the spread together, at another gap or by `fold`.
    Who has a chunk may do so in place, which saves the hot path a call:

        gap = at - gaps.since
        gaps.since = at
        if gaps.low < gap <= gaps.high:
            gaps.run += 1
        else:
            gaps.turn(gap)
    """

    __slots__ = ("__weakref__", "_begun", "_bucket", "_job_id", "_spread", "high", "low", "run",
                 "since")  # fmt: skip

    def __init__(self, spread: Spread, job_id: str) -> None:
        self._spread = spread
        self._job_id = job_id
        self._begun = 0.0
        self._bucket = 0
        self.run = 0
        self.since = -math.inf
        self.low = self.high = math.inf
        spread.counters.add(self)

    def pause(self) -> None:
        """What comes next is not late."""
        self.fold()
        # From there every gap is infinite, and none lies between two infinities.
        self.since = -math.inf
        self.low = math.inf

    def fold(self) -> None:
        """Brings to the spread what was counted here. The sum of gaps is the time between the
        first and the last of their chunks."""
        if self.since > self._begun:
            self._spread.total += self.since - self._begun
            self._begun = self.since
        if self.run:
            self._spread.counts[self._bucket] += self.run
            self.run = 0

    def turn(self, gap: float) -> None:
        """A gap of another bucket, or the first chunk."""
        if gap == math.inf:
            self._begun = self.since
            # What comes next is in no bucket yet.
            self.low = self.high = gap
            self.first()
            return
        spread = self._spread
        spread.counts[self._bucket] += self.run
        self._bucket = bucket = bisect_left(spread.bounds, gap)
        self.run = 1
        if gap > STALL_S:
            spread.mark(bucket, self._job_id, gap)
            # Each stall is looked at for itself.
            self.low = math.inf
        else:
            self.low, self.high = spread.lows[bucket], spread.highs[bucket]

    def first(self) -> None:
        """The first chunk, or the first behind a pause, has come."""


class Hearing(ChunkGaps):
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
        """A read has brought something of the answer."""
        gap = at - self.since
        self.since = at
        if self.low < gap <= self.high:
            self.run += 1
        else:
            self.turn(gap)

    def first(self) -> None:
        """See ChunkGaps."""
        if self._asked:
            self._first(self.since - self._asked, self._job_id)
            self._asked = 0.0


class Delivery(ChunkGaps):
    """One viewer of one job.

    `first` is called at the first text, where the viewer was there before it.
    """

    __slots__ = ("_first",)

    def __init__(self, spread: Spread, job_id: str, first: Callable[[], object] | None) -> None:
        super().__init__(spread, job_id)
        self._first = first

    def frame(self, last: Event, at: float) -> None:
        """A frame that ends with `last` was written."""
        name = last.name
        if name in _TEXT:
            gap = at - self.since
            self.since = at
            if self.low < gap <= self.high:
                self.run += 1
            else:
                self.turn(gap)
        elif name != "notice":
            self.pause()

    def first(self) -> None:
        """See ChunkGaps."""
        if self._first is not None:
            self._first()
            self._first = None


def span(began: float, now: float) -> float | None:
    """Seconds between two Unix times; None where the clocks cannot be believed."""
    seconds = now - began
    return seconds if 0 <= seconds <= _SPAN_MAX_S else None
