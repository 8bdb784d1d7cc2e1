"""Percentiles and the summaries made of them. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import ceil


def percentile(ordered: Sequence[float], share: float) -> float:
    """The nearest-rank percentile of values in ascending order; `share` from 0 to 1."""
    if not ordered:
        raise ValueError("no values")
    return ordered[max(0, ceil(share * len(ordered)) - 1)]


def spread(nanoseconds: Iterable[int]) -> dict[str, float]:
    """Count, p50, p99 and maximum in milliseconds; the count alone when there is none."""
    ordered = sorted(nanoseconds)
    if not ordered:
        return {"count": 0}
    return {
        "count": len(ordered),
        "p50_ms": percentile(ordered, 0.50) / 1e6,
        "p99_ms": percentile(ordered, 0.99) / 1e6,
        "max_ms": ordered[-1] / 1e6,
    }


def jitter(nanoseconds: Iterable[int]) -> dict[str, float]:
    """The spread of gaps, and their jitter: p99 - p50, as a job's own metrics have it."""
    found = spread(nanoseconds)
    if found["count"]:
        found["jitter_ms"] = found["p99_ms"] - found["p50_ms"]
    return found
