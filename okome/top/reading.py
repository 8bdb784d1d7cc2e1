"""What a broker's `/metrics` says, as far as `okome top` shows it: pure reading of text."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

# A label's value may hold braces and spaces; its quotes are escaped.
_SAMPLE = re.compile(
    r"^(?P<name>[a-zA-Z_:][a-zA-Z0-9_:]*)"
    r'(?:\{(?P<labels>(?:[^"}]|"(?:[^"\\]|\\.)*")*)\})? (?P<value>[^ #]+)'
)
_BOUND = re.compile(r'(?:^|,)le="([^"]*)"')
_EVENT = re.compile(r'(?:^|,)event="([^"]*)"')

GAUGES = {
    "okome_broker_jobs_running": "jobs",
    "okome_broker_jobs_queued": "queued",
    "okome_broker_viewers": "viewers",
    "okome_broker_settlements_spooled": "spooled",
    "okome_broker_log_away": "log_away",
}
# By name, first match wins: what reached viewers before what engines sent.
TTFT = ("okome_broker_delivered_time_to_first_token_seconds",
        "okome_broker_time_to_first_token_seconds")  # fmt: skip
GAP = "okome_broker_delivered_gap_seconds"
FLUSH = "okome_broker_log_flush_seconds"
JOBS = "okome_broker_jobs_total"
EVENTS = "okome_broker_delivered_events_total"
_HISTOGRAMS = (*TTFT, GAP, FLUSH)

# A count of values up to and including each upper bound, ascending.
Buckets = dict[float, float]


@dataclass(frozen=True, slots=True)
class Reading:
    """One answer of one broker, at `at` (monotonic seconds): gauges by their short names,
    totals by name (jobs by terminal event), histograms summed over all their labels."""

    at: float
    gauges: Mapping[str, float] = field(default_factory=dict)
    totals: Mapping[str, float] = field(default_factory=dict)
    histograms: Mapping[str, Buckets] = field(default_factory=dict)


def read(text: str, at: float) -> Reading:
    """What a broker said. Lines that cannot be read, and metrics unknown here, say nothing."""
    gauges: dict[str, float] = {}
    totals: dict[str, float] = {}
    histograms: dict[str, Buckets] = {}
    for line in text.splitlines():
        if (found := _SAMPLE.match(line)) is None:
            continue
        name, labels, value = found["name"], found["labels"] or "", _number(found["value"])
        if value is None:
            continue
        if name in GAUGES:
            gauges[GAUGES[name]] = value
        elif name == EVENTS:
            totals["events"] = totals.get("events", 0.0) + value
        elif name == JOBS:
            event = _EVENT.search(labels)
            key = event[1] if event else "?"
            totals[key] = totals.get(key, 0.0) + value
        elif name.endswith("_bucket") and name.removesuffix("_bucket") in _HISTOGRAMS:
            bound = _BOUND.search(labels)
            upper = _number(bound[1]) if bound else None
            if upper is not None:
                buckets = histograms.setdefault(name.removesuffix("_bucket"), {})
                buckets[upper] = buckets.get(upper, 0.0) + value
    return Reading(at, gauges, totals, histograms)


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return None if math.isnan(value) else value
