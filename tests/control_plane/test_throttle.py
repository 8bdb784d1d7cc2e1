"""How often somebody may try: bounded in attempts, in time and in memory."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.problems import ProblemError
from control_plane.throttle import (
    PER_ADDRESS,
    PER_NAME,
    PER_OWNER,
    Buckets,
    LoginThrottle,
    network_of,
)

NOW = 1_800_000_000.0


def allowed(throttle: LoginThrottle, name: str | None, address: str, now: float) -> bool:
    try:
        throttle.attempt(name, address, now)
    except ProblemError:
        return False
    return True


def test_a_name_is_tried_so_often_and_no_more_from_wherever() -> None:
    throttle, (size, refill_s) = LoginThrottle(), PER_NAME
    tries = [allowed(throttle, "ada", f"10.0.0.{i}", NOW) for i in range(size + 5)]
    assert tries.count(True) == size
    assert allowed(throttle, "bob", "10.0.0.1", NOW)
    assert not allowed(throttle, "ada", "10.0.0.9", NOW + refill_s - 1)
    assert allowed(throttle, "ada", "10.0.0.9", NOW + refill_s)


def test_an_address_tries_so_many_names_and_no_more() -> None:
    throttle, (size, _) = LoginThrottle(), PER_ADDRESS
    tries = [allowed(throttle, f"user{i}", "10.0.0.1", NOW) for i in range(size + 5)]
    assert tries.count(True) == size
    assert allowed(throttle, "ada", "10.0.0.2", NOW)


def test_who_waits_as_told_gets_in() -> None:
    throttle = LoginThrottle()
    while allowed(throttle, "ada", "10.0.0.1", NOW):
        pass
    with pytest.raises(ProblemError) as refused:
        throttle.attempt("ada", "10.0.0.1", NOW)
    assert refused.value.code == "rate_limited"
    assert "RateLimit" in refused.value.headers()
    wait = int(refused.value.headers()["Retry-After"])
    assert allowed(throttle, "ada", "10.0.0.1", NOW + wait)


def test_a_refused_attempt_costs_nothing() -> None:
    throttle, (size, refill_s) = LoginThrottle(), PER_NAME
    for _ in range(10 * size):
        allowed(throttle, "ada", "10.0.0.1", NOW)
    assert allowed(throttle, "ada", "10.0.0.2", NOW + refill_s)


def test_a_good_login_frees_the_name_but_not_the_address() -> None:
    throttle, (names, _), (addresses, _) = LoginThrottle(), PER_NAME, PER_ADDRESS
    for _ in range(names):
        throttle.attempt("ada", "10.0.0.2", NOW)
    throttle.succeeded("ada", "10.0.0.2", NOW)
    assert allowed(throttle, "ada", "10.0.0.2", NOW)
    # Between guesses at others, an own account does not help.
    guesses = 0
    for i in range(10 * addresses):
        if not allowed(throttle, "mine", "10.0.0.1", NOW):
            break
        throttle.succeeded("mine", "10.0.0.1", NOW)
        guesses += allowed(throttle, f"other{i}", "10.0.0.1", NOW)
    assert guesses <= addresses


def test_nobody_gets_tokens_without_end() -> None:
    throttle, (size, refill_s) = LoginThrottle(), PER_OWNER
    for _ in range(size):
        throttle.token("user_1", NOW)
    with pytest.raises(ProblemError) as refused:
        throttle.token("user_1", NOW)
    assert refused.value.code == "rate_limited"
    throttle.token("user_2", NOW)
    throttle.token("user_1", NOW + refill_s)


def test_memory_is_bounded() -> None:
    buckets = Buckets(2, 10.0, most=100)
    for i in range(1000):
        buckets.take(str(i), NOW)
    assert len(buckets) == 100
    buckets.take("last", NOW + 1000)
    assert len(buckets) == 1


@given(st.lists(st.floats(0, 50), max_size=60), st.integers(1, 5), st.floats(0.5, 20))
def test_never_more_than_the_bucket_holds_and_gets(
    steps: list[float], size: int, refill_s: float
) -> None:
    buckets, now, taken = Buckets(size, refill_s), 0.0, 0
    for step in steps:
        now += step
        if buckets.wait("a", now) == 0:
            buckets.take("a", now)
            taken += 1
    assert taken <= size + now / refill_s + 1e-6


@pytest.mark.parametrize(
    ("address", "place"),
    [
        ("10.0.0.1", "10.0.0.1"),
        ("::ffff:10.0.0.1", "10.0.0.1"),
        ("2001:db8::1", "2001:db8::/64"),
        ("2001:db8::ffff:1", "2001:db8::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", "unknown"),
        ("nonsense", "unknown"),
    ],
)
def test_an_ipv6_site_is_one_place(address: str, place: str) -> None:
    assert network_of(address) == place
