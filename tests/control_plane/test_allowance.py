"""Limits, and the days and months that they are for."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane.allowance import SPANS, Allowance, Span, ends_at, merged, period_of


def unix(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("moment", "day", "month", "day_ends", "month_ends"),
    [
        ("2026-11-21T00:00:00", "2026-11-21", "2026-11", "2026-11-22", "2026-12-01"),
        ("2026-12-31T23:59:59.9", "2026-12-31", "2026-12", "2027-01-01", "2027-01-01"),
        ("2028-02-28T12:00:00", "2028-02-28", "2028-02", "2028-02-29", "2028-03-01"),
        ("2027-01-31T12:00:00", "2027-01-31", "2027-01", "2027-02-01", "2027-02-01"),
    ],
)
def test_periods_are_those_of_utc(
    moment: str, day: str, month: str, day_ends: str, month_ends: str
) -> None:
    at = unix(moment)
    assert (period_of(at, "day"), period_of(at, "month")) == (day, month)
    assert (ends_at(at, "day"), ends_at(at, "month")) == (unix(day_ends), unix(month_ends))


@given(st.floats(0, 4e9), st.sampled_from(SPANS))
def test_a_period_ends_where_the_next_begins(at: float, span: Span) -> None:
    end = ends_at(at, span)
    assert end > at
    assert period_of(end - 1, span) == period_of(at, span) != period_of(end, span)


LIMITS = st.none() | st.integers(0, 3)
ALLOWANCES = st.builds(
    Allowance,
    streams=LIMITS,
    requests_day=LIMITS,
    tokens_day=LIMITS,
    requests_month=LIMITS,
    tokens_month=LIMITS,
)


@given(ALLOWANCES, ALLOWANCES)
def test_what_is_set_for_a_user_alone_wins_also_when_it_is_nothing(
    tier: Allowance, own: Allowance
) -> None:
    found = merged(tier, own)
    for name in ("streams", "requests_day", "tokens_day", "requests_month", "tokens_month"):
        expected = getattr(own, name)
        if expected is None:
            expected = getattr(tier, name)
        assert getattr(found, name) == expected
