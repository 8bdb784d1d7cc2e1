"""Percentiles are nearest-rank, jitter is p99 - p50."""

from __future__ import annotations

import pytest

from bench.stats import jitter, percentile, spread

HUNDRED = [float(number) for number in range(1, 101)]


@pytest.mark.parametrize(
    ("share", "expected"), [(0.0, 1), (0.01, 1), (0.5, 50), (0.99, 99), (0.995, 100), (1.0, 100)]
)
def test_a_percentile_is_a_value_that_was_measured(share: float, expected: float) -> None:
    assert percentile(HUNDRED, share) == expected


def test_of_one_value_every_percentile_is_that_value() -> None:
    assert [percentile([3.0], share) for share in (0.0, 0.5, 1.0)] == [3.0] * 3


def test_there_is_no_percentile_of_nothing() -> None:
    with pytest.raises(ValueError, match="no values"):
        percentile([], 0.5)


def test_a_spread_is_in_milliseconds_and_needs_no_order() -> None:
    assert spread([3_000_000, 1_000_000, 2_000_000]) == {
        "count": 3,
        "p50_ms": 2.0,
        "p99_ms": 3.0,
        "max_ms": 3.0,
    }
    assert spread([]) == {"count": 0}


def test_a_burst_passed_on_as_a_burst_has_the_jitter_of_its_pause() -> None:
    assert jitter([0, 0, 0, 80_000_000] * 25)["jitter_ms"] == 80.0
    assert jitter([20_000_000] * 100)["jitter_ms"] == 0.0
