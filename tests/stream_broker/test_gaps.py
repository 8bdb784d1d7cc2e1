from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_broker.gaps import Gaps, nearest_rank

NAMES = ["ttft_ms", "tokens_per_second", "gap_p50_ms", "gap_p99_ms", "jitter_ms"]


def gaps_of(*times: float) -> Gaps:
    gaps = Gaps()
    for ts in times:
        gaps.add(ts)
    return gaps


def test_without_events_all_figures_are_null() -> None:
    assert Gaps().metrics(10.0) == dict.fromkeys(NAMES)


def test_one_event_has_a_time_to_first_token_only() -> None:
    metrics = gaps_of(10.5).metrics(10.0)
    assert metrics.pop("ttft_ms") == 500.0
    assert set(metrics.values()) == {None}


def test_figures_of_known_gaps() -> None:
    metrics = gaps_of(10.0, 10.1, 10.2, 10.5).metrics(9.0)
    assert metrics == {
        "ttft_ms": 1000.0,
        "tokens_per_second": 6.0,
        "gap_p50_ms": 100.0,
        "gap_p99_ms": 300.0,
        "jitter_ms": 200.0,
    }


def test_events_of_one_instant_have_no_rate() -> None:
    metrics = gaps_of(10.0, 10.0).metrics(10.0)
    assert metrics["tokens_per_second"] is None
    assert metrics["gap_p50_ms"] == 0.0


@pytest.mark.parametrize(("percent", "value"), [(0, 1), (50, 5), (90, 9), (99, 10), (100, 10)])
def test_percentiles_are_nearest_rank(percent: float, value: float) -> None:
    assert nearest_rank(range(1, 11), percent) == value


@given(st.lists(st.integers(0, 60_000_000), min_size=2, max_size=200))
def test_percentiles_are_those_of_all_gaps_those_of_no_time_too(micros: list[int]) -> None:
    micros.sort()
    gaps = sorted(after - before for before, after in pairwise(micros))
    metrics = gaps_of(*(1.7e9 + ts / 1e6 for ts in micros)).metrics(1.7e9)
    assert metrics["gap_p50_ms"] == nearest_rank(gaps, 50) / 1000
    assert metrics["gap_p99_ms"] == nearest_rank(gaps, 99) / 1000


def test_a_gap_beyond_an_hour_counts_as_long() -> None:
    assert gaps_of(0.0, 1e5).metrics(0.0)["gap_p99_ms"] == pytest.approx(4_294_967.295)


def test_events_of_one_instant_take_no_memory() -> None:
    gaps = gaps_of(*[1.0] * 1000, *[2.0] * 1000)
    assert len(gaps._gaps) == 1
    gaps.forget()
    assert len(gaps._gaps) == 0


@given(st.lists(st.floats(0, 100), min_size=2, max_size=50))
def test_jitter_is_never_negative(times: list[float]) -> None:
    metrics = gaps_of(*sorted(times)).metrics(0.0)
    jitter, low, high = metrics["jitter_ms"], metrics["gap_p50_ms"], metrics["gap_p99_ms"]
    assert jitter is not None
    assert low is not None
    assert high is not None
    assert 0 <= jitter == pytest.approx(high - low, abs=0.002)
