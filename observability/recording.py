"""The recording rules: what dashboards and alerts ask for, worked out once."""

from __future__ import annotations

from typing import Any, Final

from observability import slo

_B: Final = "okome_broker_"
# Nobody's percentile: less than three values in a minute.
SOME: Final = 0.05


def groups() -> list[dict[str, Any]]:
    """Groups of recording rules, in the order in which they build on each other."""
    return [
        {"name": "okome-stream", "rules": [*_ttft(), *_gaps()]},
        {"name": "okome-hops", "rules": _hops()},
        {"name": "okome-slo", "rules": [*_sli(), *_windows()]},
    ]


def quantile(percent: float, histogram: str, by: str = "", window: str = "5m") -> str:
    """A percentile, where there are enough values for one."""
    les = f"le, {by}" if by else "le"
    grouped = f" by ({by})" if by else ""
    return (
        f"histogram_quantile({percent:g}, sum by ({les}) (rate({histogram}_bucket[{window}])))"
        f" and sum{grouped} (rate({histogram}_count[{window}])) > {SOME:g}"
    )


def record(name: str, expr: str, **labels: str) -> dict[str, Any]:
    """One rule."""
    rule: dict[str, Any] = {"record": name, "expr": expr}
    return rule | ({"labels": labels} if labels else {})


def _ttft() -> list[dict[str, Any]]:
    delivered = f"{_B}delivered_time_to_first_token_seconds"
    engine = f"{_B}engine_time_to_first_token_seconds"
    client = "okome_client_time_to_first_token_seconds"
    return [
        record("okome:delivered_ttft_seconds:p50", quantile(0.5, delivered)),
        record("okome:delivered_ttft_seconds:p95", quantile(0.95, delivered)),
        record("okome:client_ttft_seconds:p95", quantile(0.95, client)),
        record("okome:engine_ttft_seconds:p95", quantile(0.95, engine, "engine, model")),
    ]


def _gaps() -> list[dict[str, Any]]:
    points = {"engine": "engine, model", "delivered": "", "client": ""}
    rules = []
    for point, by in points.items():
        prefix = "okome_client_" if point == "client" else f"{_B}{point}_"
        p50, p99 = (f"okome:{point}_gap_seconds:{p}" for p in ("p50", "p99"))
        rules += [
            record(p50, quantile(0.5, f"{prefix}gap_seconds", by)),
            record(p99, quantile(0.99, f"{prefix}gap_seconds", by)),
            record(f"okome:{point}_jitter_seconds", f"{p99} - {p50}"),
        ]
    stalled = f'_gap_seconds_bucket{{le="{float(slo.STALL_S)}"}}[5m]'
    engine, sent = f"{_B}engine_gap_seconds", f"{_B}delivered_gap_seconds"
    return [
        *rules,
        record(
            "okome:engine_stalls:per_1000",
            f"1000 * (sum by (engine, model) (rate({engine}_count[5m]))"
            f" - sum by (engine, model) (rate({_B}engine{stalled})))"
            f" / (sum by (engine, model) (rate({engine}_count[5m])) > {SOME:g})",
        ),
        record(
            "okome:delivered_stalls:per_1000",
            f"1000 * (sum by (node) (rate({sent}_count[5m]))"
            f" - sum by (node) (rate({_B}delivered{stalled})))"
            f" / (sum by (node) (rate({_B}delivered_events_total[5m])) > {SOME:g})",
        ),
    ]


def _hops() -> list[dict[str, Any]]:
    def hop(name: str, histogram: str, by: str, percent: float = 0.95) -> dict[str, Any]:
        return record("okome:hop_seconds", quantile(percent, histogram, by), hop=name)

    times = "haproxy_backend_{}_time_average_seconds"
    connect, queue = times.format("connect"), times.format("queue")
    return [
        hop("accept", f"{_B}accept_seconds", "node"),
        hop("decision", "okome_control_grant_seconds", "node"),
        hop("cache", f"{_B}cache_lookup_seconds", "node"),
        hop("log", f"{_B}log_flush_seconds", "node"),
        hop("broker", f"{_B}overhead_seconds", "node"),
        hop("loop", f"{_B}loop_lag_seconds", "node"),
        hop("pacer", f"{_B}pacer_hold_seconds", "node", 0.99),
        record(
            "okome:hop_seconds",
            f"max by (node) ({connect} + {queue})",
            hop="ingress",
        ),
    ]


def _sli() -> list[dict[str, Any]]:
    """What was bad and what there was, a second; bad is 0 where nothing of the kind was seen."""
    rules = []
    for objective in slo.OBJECTIVES:
        all_, bad = objective.all_, objective.bad
        rules += [
            record("okome:slo_all:rate5m", all_, slo=objective.name),
            record("okome:slo_bad:rate5m", f"({bad}) or ({all_}) * 0", slo=objective.name),
        ]
    return rules


def _windows() -> list[dict[str, Any]]:
    windows = sorted({window for burn in slo.BURNS for window in (burn.long, burn.short)})
    return [
        *(
            record(
                f"okome:slo_errors:ratio_{window}",
                f"sum_over_time(okome:slo_bad:rate5m[{window}])"
                f" / (sum_over_time(okome:slo_all:rate5m[{window}]) > 0)",
            )
            for window in windows
        ),
        record("okome:slo_events:last_1h", "avg_over_time(okome:slo_all:rate5m[1h]) * 3600"),
    ]
