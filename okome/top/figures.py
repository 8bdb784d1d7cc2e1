"""Two readings of a broker made into what a person wants to know: pure arithmetic."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from okome.top.reading import FLUSH, GAP, TTFT, Buckets, Reading


@dataclass(frozen=True, slots=True)
class Figures:
    """One broker over the last `window_s` seconds; None: nothing there to be measured.

    Times in milliseconds: `ttft_*` from acceptance to the first text on a viewer's
    connection, `jitter` = p99 − p50 of the gaps between frames there, `log_p99` until a flush
    of the log was durable. `tokens_per_s`: events written to viewers, nearly all of them tokens.
    """

    node: str
    worker: int
    window_s: float
    reason: str | None = None
    jobs: int | None = None
    queued: int | None = None
    viewers: int | None = None
    spooled: int | None = None
    log_away: bool = False
    tokens_per_s: float | None = None
    ttft_p50: float | None = None
    ttft_p95: float | None = None
    gap_p99: float | None = None
    jitter: float | None = None
    log_p99: float | None = None
    ended: int | None = None
    failed: int | None = None


def figures(node: str, worker: int, old: Reading, new: Reading) -> Figures:
    """What happened between two readings, and how things are at the newer one."""
    window = new.at - old.at
    totals = {name: _since(old.totals.get(name, 0.0), v) for name, v in new.totals.items()}
    ttft = next((name for name in TTFT if name in new.histograms), TTFT[0])
    first, gaps, flushes = (_between(old, new, name) for name in (ttft, GAP, FLUSH))
    p50, p99 = quantile(gaps, 0.5), quantile(gaps, 0.99)
    events = totals.pop("events", None)
    return Figures(
        node=node,
        worker=worker,
        window_s=round(window, 1),
        jobs=_whole(new.gauges, "jobs"),
        queued=_whole(new.gauges, "queued"),
        viewers=_whole(new.gauges, "viewers"),
        spooled=_whole(new.gauges, "spooled"),
        log_away=new.gauges.get("log_away", 0.0) > 0,
        tokens_per_s=round(events / window, 1) if events is not None and window else None,
        ttft_p50=_ms(quantile(first, 0.5)),
        ttft_p95=_ms(quantile(first, 0.95)),
        gap_p99=_ms(p99),
        jitter=_ms(p99 - p50) if p50 is not None and p99 is not None else None,
        log_p99=_ms(quantile(flushes, 0.99)),
        ended=int(sum(totals.values())),
        failed=int(totals.get("job_error", 0.0)),
    )


def quantile(buckets: Buckets, q: float) -> float | None:
    """As Prometheus' histogram_quantile: linear within a bucket; what lies beyond the last
    bound is told as that bound. None without a value."""
    bounds = sorted(buckets)
    if not bounds or not buckets[bounds[-1]]:
        return None
    rank = q * buckets[bounds[-1]]
    below, lower = 0.0, 0.0
    for bound in bounds:
        if buckets[bound] >= rank and buckets[bound] > below:
            if math.isinf(bound):
                return lower
            return lower + (bound - lower) * (rank - below) / (buckets[bound] - below)
        below, lower = buckets[bound], bound
    return lower


def window_of(readings: Sequence[Reading], seconds: float) -> Reading:
    """The oldest of `readings` (ascending, not empty) that is not older than `seconds` before
    the last."""
    earliest = readings[-1].at - seconds
    return next(reading for reading in readings if reading.at >= earliest)


def _between(old: Reading, new: Reading, name: str) -> Buckets:
    now, before = new.histograms.get(name, {}), old.histograms.get(name, {})
    # A broker that was started anew counts from nothing.
    if any(now.get(bound, 0.0) < count for bound, count in before.items()):
        before = {}
    return {bound: count - before.get(bound, 0.0) for bound, count in now.items()}


def _since(old: float, new: float) -> float:
    return new if new < old else new - old


def _whole(gauges: Mapping[str, float], name: str) -> int | None:
    value = gauges.get(name)
    return None if value is None or math.isinf(value) else int(value)


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 1)
