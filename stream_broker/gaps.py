"""The figures of one answer, computed from the times in its log alone.

Percentiles are nearest-rank over all gaps (no interpolation), so every reader of the
log gets the same numbers. Jitter is p99 − p50 of the gaps between successive chunks:
no published tool defines it, the contract does.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence

_MICROS_MAX = (1 << 32) - 1


def nearest_rank(ordered: Sequence[float], percent: float, zeros: int = 0) -> float:
    """The nearest-rank percentile of an ascending sequence behind `zeros` zeros.

    There has to be one of either.
    """
    rank = max(1, math.ceil(percent / 100 * (zeros + len(ordered))))
    return ordered[rank - zeros - 1] if rank > zeros else 0


class Gaps:
    """Collects the `ts` of token and reasoning events.

    In whole microseconds, as the log has them: four bytes for each that brought time, none
    for what came in one read with another, which is most of it when an engine is fast.
    """

    __slots__ = ("_gaps", "_zeros", "first", "last")

    def __init__(self) -> None:
        self.first: float | None = None
        self.last: float | None = None
        self._gaps = array("I")
        self._zeros = 0

    def add(self, ts: float, count: int = 1) -> None:
        """Counts events of one read; `ts` in Unix seconds, never decreasing."""
        last = self.last
        if ts == last:
            self._zeros += count
            return
        self._zeros += count - 1
        self.last = ts
        if last is None:
            self.first = ts
        else:
            self._gaps.append(min(int((ts - last) * 1e6 + 0.5), _MICROS_MAX))

    def forget(self) -> None:
        """Frees what only `metrics` needs: all but the first and the last time."""
        self._gaps = array("I")
        self._zeros = 0

    def metrics(self, created_at: float) -> dict[str, float | None]:
        """The `metrics` member of `job_complete`: milliseconds and tokens per second."""
        if self.first is None or self.last is None:
            return dict.fromkeys(
                ("ttft_ms", "tokens_per_second", "gap_p50_ms", "gap_p99_ms", "jitter_ms")
            )
        p50 = p99 = rate = None
        count = self._zeros + len(self._gaps)
        if count:
            ordered = sorted(self._gaps)
            p50 = nearest_rank(ordered, 50, self._zeros) / 1000
            p99 = nearest_rank(ordered, 99, self._zeros) / 1000
            spent = self.last - self.first
            rate = count / spent if spent > 0 else None
        return {
            "ttft_ms": _rounded((self.first - created_at) * 1000),
            "tokens_per_second": _rounded(rate),
            "gap_p50_ms": _rounded(p50),
            "gap_p99_ms": _rounded(p99),
            "jitter_ms": None if p50 is None or p99 is None else _rounded(p99 - p50),
        }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
