"""Leaving alone what fails, and finding out when it is well again."""

from __future__ import annotations

from stream_broker.cache.breaker import FAILURES_MAX, PAUSE_MAX_S, PAUSE_S, Breaker


def opened() -> Breaker:
    breaker = Breaker()
    for _ in range(FAILURES_MAX):
        assert breaker.allows(0)
        breaker.failed(0)
    return breaker


def test_a_few_failures_are_no_reason() -> None:
    breaker = Breaker()
    for _ in range(FAILURES_MAX - 1):
        breaker.failed(0)
    breaker.succeeded()
    for _ in range(FAILURES_MAX - 1):
        breaker.failed(0)
    assert breaker.allows(0)


def test_after_a_pause_one_may_try() -> None:
    breaker = opened()
    assert not breaker.allows(PAUSE_S - 0.01)
    assert breaker.allows(PAUSE_S)
    assert not breaker.allows(PAUSE_S)
    breaker.succeeded()
    assert breaker.allows(PAUSE_S)
    assert not breaker.open


def test_each_vain_try_makes_the_pause_longer_up_to_a_limit() -> None:
    breaker, now = opened(), 0.0
    pauses = []
    for _ in range(9):
        begun = now
        while not breaker.allows(now):
            now += 0.25
        pauses.append(now - begun)
        breaker.failed(now)
    assert pauses[:3] == [PAUSE_S, 2 * PAUSE_S, 4 * PAUSE_S]
    assert pauses[-1] == PAUSE_MAX_S
