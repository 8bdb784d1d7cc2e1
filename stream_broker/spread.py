"""Histograms for the hot path: plain numbers that one thread counts, without a lock.

`prometheus_client` takes a lock and several calls for each value; here a value costs a
bisection and two additions, or less where who counts does so by itself for a while. The
registry reads them when it is scraped.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import Any, Final, Protocol
from weakref import WeakSet

from prometheus_client.core import Exemplar, HistogramMetricFamily
from prometheus_client.registry import Collector

OTHER: Final = "other"
# Different values of one label, and of a histogram's labels together: a scrape takes what
# is bounded (`observability/scraping.py`), and drops all of what is not.
MOST: Final = 24


class Names:
    """The values of a label, at most `most` different ones; all later ones are OTHER."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._known: set[str] = set()

    def of(self, name: str) -> str:
        """The value that stands for a name."""
        if name in self._known:
            return name
        if len(self._known) >= self._most:
            return OTHER
        self._known.add(name)
        return name


class Counter(Protocol):
    """Who counts for itself, and brings it in when it is asked."""

    def fold(self) -> None:
        """Brings in what was counted."""


class Spread:
    """How often values fell into which bucket. `bounds` ascend and are inclusive.

    `counters`: of those that live, each is asked at a scrape.
    """

    __slots__ = ("_marks", "bounds", "counters", "counts", "highs", "lows", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(map(float, bounds))
        # Of each bucket.
        self.lows = (-math.inf, *self.bounds)
        self.highs = (*self.bounds, math.inf)
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0
        self.counters: WeakSet[Counter] = WeakSet()
        self._marks: dict[int, tuple[str, float]] = {}

    @property
    def count(self) -> int:
        """How many values there were."""
        return sum(self.counts)

    def add(self, value: float, job_id: str | None = None) -> None:
        """Counts a value; `job_id`: the job whose it was, where somebody may want to look."""
        bucket = bisect_left(self.bounds, value)
        self.counts[bucket] += 1
        self.total += value
        if job_id is not None:
            self.mark(bucket, job_id, value)

    def mark(self, bucket: int, job_id: str, value: float) -> None:
        """Names the job whose the last value of a bucket was."""
        self._marks[bucket] = job_id, value

    def buckets(self) -> list[Any]:
        """As a family takes them: upper bound, values up to it, the last job that was named."""
        for counter in self.counters:
            counter.fold()
        uppers = [*(str(float(bound)) for bound in self.bounds), "+Inf"]
        counts = zip(uppers, accumulate(self.counts), strict=True)
        return [
            (upper, float(count), self._exemplar(bucket))
            for bucket, (upper, count) in enumerate(counts)
        ]

    def _exemplar(self, bucket: int) -> Exemplar | None:
        mark = self._marks.get(bucket)
        return None if mark is None else Exemplar({"job_id": mark[0]}, mark[1])


class Spreads(Collector):
    """A histogram by labels: of MOST different values, and one of OTHER for all else."""

    def __init__(
        self, name: str, text: str, bounds: Sequence[float], labels: Sequence[str] = ()
    ) -> None:
        self._name = name
        self._text = text
        self._bounds = bounds
        self._labels = tuple(labels)
        self._by_label: dict[tuple[str, ...], Spread] = {}
        if not labels:
            self.of()

    def of(self, *values: str) -> Spread:
        """The spread of these values; the same one each time."""
        found = self._by_label.get(values)
        if found is None and len(self._by_label) >= MOST:
            values = (OTHER,) * len(self._labels)
            found = self._by_label.get(values)
        if found is None:
            found = self._by_label[values] = Spread(self._bounds)
        return found

    def collect(self) -> Iterable[HistogramMetricFamily]:
        """See Collector."""
        family = HistogramMetricFamily(self._name, self._text, labels=self._labels)
        for values, spread in self._by_label.items():
            family.add_metric(values, spread.buckets(), spread.total)
        yield family

    def describe(self) -> Iterable[HistogramMetricFamily]:
        """The names that `collect` gives, for the registry."""
        yield HistogramMetricFamily(self._name, self._text, labels=self._labels)
