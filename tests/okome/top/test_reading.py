"""What brokers say is read as Prometheus would, and nonsense says nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from okome.top.figures import figures, quantile, window_of
from okome.top.reading import GAP, TTFT, Reading, read


def exposition(gaps: list[float], tokens: int = 0, model: str = "m") -> str:
    """As a broker would say it, with labels that hold what labels may hold."""
    registry = CollectorRegistry()
    Gauge("okome_broker_jobs_running", "x", registry=registry).set(3)
    spread = Histogram(GAP, "x", ["model"], buckets=(0.01, 0.1, 1), registry=registry)
    for gap in gaps:
        spread.labels(model).observe(gap)
    Counter("okome_broker_delivered_events", "x", registry=registry).inc(tokens)
    ended = Counter("okome_broker_jobs", "x", ["kind", "event", "code"], registry=registry)
    ended.labels("chat", "job_error", "engine_error").inc(2)
    return generate_latest(registry).decode()


def test_histograms_are_summed_and_counters_sorted_by_what_happened() -> None:
    said = read(exposition([0.005, 0.05, 0.05, 5.0], tokens=40, model='a"b\\c{d} e'), at=1.0)

    assert said.gauges == {"jobs": 3}
    assert said.totals == {"events": 40, "job_error": 2}
    assert said.histograms[GAP] == {0.01: 1, 0.1: 3, 1.0: 3, float("inf"): 4}


@given(st.text())
def test_any_text_is_read(text: str) -> None:
    assert read(text, at=0.0).at == 0.0
    assert read(f"okome_broker_viewers {text}", at=0.0).histograms == {}


@pytest.mark.parametrize("value", ["NaN", "", "+", "1_0_x"])
def test_what_is_no_number_is_left_out(value: str) -> None:
    assert read(f"okome_broker_viewers {value}\n", at=0.0).gauges == {}


@pytest.mark.parametrize(
    ("q", "expected"), [(0.25, 0.01), (0.5, 0.055), (0.75, 0.1), (0.99, 1.0), (0.0, 0.0)]
)
def test_a_quantile_is_prometheus_s(q: float, expected: float) -> None:
    buckets = {0.01: 1.0, 0.1: 3.0, 1.0: 3.0, float("inf"): 4.0}
    assert quantile(buckets, q) == pytest.approx(expected)


def test_without_values_there_is_no_quantile() -> None:
    assert quantile({}, 0.5) is None
    assert quantile({0.1: 0.0, float("inf"): 0.0}, 0.5) is None


def test_only_what_lies_between_two_readings_counts() -> None:
    old = read(exposition([5.0] * 50, tokens=100), at=10.0)
    new = read(exposition([5.0] * 50 + [0.05] * 100, tokens=140), at=14.0)

    found = figures("okome-node-03", 0, old, new)

    assert found.tokens_per_s == 10.0
    assert found.gap_p99 is not None
    assert found.gap_p99 <= 100
    assert (found.jobs, found.ended, found.failed, found.window_s) == (3, 0, 0, 4.0)


def test_a_broker_that_was_started_anew_counts_from_nothing() -> None:
    old = read(exposition([5.0] * 50, tokens=100), at=10.0)
    new = read(exposition([0.05] * 4, tokens=8), at=14.0)

    found = figures("okome-node-03", 0, old, new)

    assert found.tokens_per_s == 2.0
    assert found.gap_p99 is not None
    assert found.gap_p99 <= 100


def test_what_viewers_felt_comes_before_what_engines_sent() -> None:
    fast, slow = {0.1: 9.0, float("inf"): 9.0}, {1.0: 0.0, 5.0: 9.0, float("inf"): 9.0}
    one = Reading(2.0, histograms={TTFT[0]: slow, TTFT[1]: fast})
    found = figures("n", 0, Reading(1.0), one)
    assert found.ttft_p95 is not None
    assert found.ttft_p95 > 1000


def test_the_window_ends_at_the_last_reading() -> None:
    readings = [Reading(float(at)) for at in range(0, 100, 2)]
    assert window_of(readings, 60).at == 38
    assert window_of(readings[:1], 60).at == 0
