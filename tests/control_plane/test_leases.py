"""The rule of the slots."""

from __future__ import annotations

from control_plane.leases import LeaseRule
from hypothesis import given
from hypothesis import strategies as st

TIMES = st.floats(0, 1e10)
RULES = st.builds(LeaseRule, st.integers(1, 100), st.floats(0.1, 3600))


@given(RULES, TIMES)
def test_a_lease_lives_one_ttl(rule: LeaseRule, now: float) -> None:
    assert rule.expiry(now) - now <= rule.ttl_s + 1e-5
    assert rule.expiry(now) > now


@given(RULES, st.integers(0, 200))
def test_one_more_fits_below_the_limit_only(rule: LeaseRule, live: int) -> None:
    assert rule.admits(live) == (live + 1 <= rule.limit)


@given(RULES, TIMES, TIMES, st.integers(0, 200))
def test_the_live_always_renew_the_dead_only_into_a_free_slot(
    rule: LeaseRule, expires_at: float, now: float, live: int
) -> None:
    assert rule.may_renew(expires_at, live, now) == (expires_at > now or live < rule.limit)


def test_the_refusal_tells_the_limit_in_header_fields() -> None:
    problem = LeaseRule(limit=5, ttl_s=30).refusal()
    assert problem.code == "too_many_streams"
    assert problem.headers() == {
        "RateLimit-Policy": '"streams";q=5;qu="concurrent-requests"',
        "RateLimit": '"streams";r=0',
        "Retry-After": "1",
    }
