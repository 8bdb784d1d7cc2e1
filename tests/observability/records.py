"""What the recording rules find in a cluster that is well (`cluster_series.well`).

Percentiles lie within a bucket by linear interpolation: of gaps that are all between 20 and
40 ms, p50 is 30 ms.
"""

from __future__ import annotations

from observability import slo

_ENGINE = 'engine="http://e1",model="small"'
_HOPS = {
    "accept": 0.02375,
    "decision": 0.0095,
    "cache": 0.00095,
    "log": 0.0019,
    "broker": 0.0019,
    "loop": 0.0019,
    "pacer": 0.0594,
}
_RATES = {"streams": 1, "ttft": 1, "stalls": 33.3333, "resumes": 0.33333, "availability": 1}
_WINDOWS = sorted({w for burn in slo.BURNS for w in (burn.long, burn.short)})

VALUES: dict[str, float] = {
    "okome:delivered_ttft_seconds:p50": 0.125,
    "okome:delivered_ttft_seconds:p95": 0.2375,
    "okome:client_ttft_seconds:p95": 0.2375,
    "okome:engine_ttft_seconds:p95": 0.2375,
    "okome:engine_gap_seconds:p50": 0.03,
    "okome:engine_gap_seconds:p99": 0.0398,
    "okome:engine_jitter_seconds": 0.0098,
    "okome:delivered_gap_seconds:p50": 0.03,
    "okome:delivered_gap_seconds:p99": 0.0398,
    "okome:delivered_jitter_seconds": 0.0098,
    "okome:client_gap_seconds:p50": 0.03,
    "okome:client_gap_seconds:p99": 0.0398,
    "okome:client_jitter_seconds": 0.0098,
    "okome:engine_stalls:per_1000": 0.0,
    "okome:delivered_stalls:per_1000": 0.0,
    'okome:hop_seconds{hop="ingress"}': 0.001,
    "okome:slo_events:last_1h": 1.0,
}
VALUES |= {f'okome:hop_seconds{{hop="{hop}"}}': value for hop, value in _HOPS.items()}
VALUES |= {f'okome:slo_all:rate5m{{slo="{name}"}}': value for name, value in _RATES.items()}
VALUES |= {f'okome:slo_bad:rate5m{{slo="{name}"}}': 0.0 for name in _RATES}
VALUES |= {f"okome:slo_errors:ratio_{window}": 0.0 for window in _WINDOWS}
# What is compared instead of the record itself: it is another for each objective.
_EVENTS = "okome:slo_events:last_1h"
# The first minutes of a rate are lower.
RATIOS = {_EVENTS: f"round({_EVENTS} / (okome:slo_all:rate5m * 3600), 0.5)"}
# A rate of 0 is a value, and so is what HAProxy tells; all else has none without values.
_ALWAYS = ("slo_all", "slo_bad", "slo_events", "ingress")
QUIET = [name for name in VALUES if not any(part in name for part in _ALWAYS)]
