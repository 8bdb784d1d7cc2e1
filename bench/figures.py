"""Single figures out of a run's results: means over the rounds, as text for a table. Pure."""

from __future__ import annotations

from collections.abc import Callable
from statistics import fmean
from typing import Any

from bench.results import Results

Pick = Callable[[dict[str, Any]], float | None]
NOTHING = "–"


def path(*keys: str) -> Pick:
    """The number at the end of these keys; None where there is none."""

    def pick(values: dict[str, Any]) -> float | None:
        found: Any = values
        for key in keys:
            found = found.get(key) if isinstance(found, dict) else None
        return found if isinstance(found, int | float) else None

    return pick


def numbers(results: Results, peer: str, workload: str, pick: Pick) -> list[float]:
    """The figure of each round that has it."""
    found = map(pick, results.of(peer, workload))
    return [number for number in found if number is not None]


def mean(results: Results, peer: str, workload: str, pick: Pick) -> float | None:
    """The mean over the rounds."""
    found = numbers(results, peer, workload, pick)
    return fmean(found) if found else None


def cell(results: Results, peer: str, workload: str, pick: Pick) -> str:
    """The mean, with the lowest and the highest round where they differ; or why not."""
    found = numbers(results, peer, workload, pick)
    if not found:
        return "failed" if results.error(peer, workload) else NOTHING
    low, high = short(min(found)), short(max(found))
    middle = short(fmean(found))
    return middle if low == high else f"{middle} ({low}–{high})"


def pair(results: Results, peer: str, workload: str, first: Pick, second: Pick) -> str:
    """Two means, as `p50 / p99`."""
    found = [mean(results, peer, workload, pick) for pick in (first, second)]
    if None in found:
        return "failed" if results.error(peer, workload) else NOTHING
    return " / ".join(short(number) for number in found if number is not None)


def ratio(results: Results, peer: str, base: str, workload: str, pick: Pick) -> str:
    """How many times the base's mean."""
    ours, theirs = (mean(results, name, workload, pick) for name in (peer, base))
    return f"{ours / theirs:.1f}x" if ours and theirs else NOTHING


def total(results: Results, peer: str, key: str) -> int:
    """A count of faults over all workloads and rounds."""
    rows = (row for row in results.rows if row.peer == peer and row.error is None)
    return sum(row.values.get(key, 0) for row in rows)


def short(number: float) -> str:
    """Three digits that matter, and no more of them after the point than are meant."""
    if abs(number) >= 1e6:
        return f"{number / 1e6:.3g} M"
    if abs(number) >= 1e4:
        return f"{number / 1e3:.0f} k"
    if abs(number) >= 100:
        return f"{number:.0f}"
    return f"{number:.3f}" if abs(number) < 0.1 else f"{number:.3g}"
