"""When an engine is out, and how it comes back."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from control_plane.fleet import breaker as b
from control_plane.fleet.breaker import Breaker, failed, may_try, opened, state_of, succeeded, tried


def broken(now: float = 0.0) -> Breaker:
    """Open since `now`."""
    breaker = Breaker()
    for _ in range(b.FAULTS):
        breaker = failed(breaker, now)
    return breaker


def test_some_faults_within_the_window_open_it() -> None:
    breaker = Breaker()
    for _ in range(b.FAULTS - 1):
        breaker = failed(breaker, 0.0)
    breaker = succeeded(breaker, 1.0)
    assert state_of(breaker, 1.0) == "closed"
    assert state_of(failed(breaker, b.WINDOW_S - 0.1), b.WINDOW_S - 0.1) == "open"
    assert state_of(failed(breaker, b.WINDOW_S), b.WINDOW_S) == "closed"


def test_faults_in_a_row_open_it_however_slowly_they_come() -> None:
    breaker = Breaker()
    for number in range(b.FAULTS):
        assert state_of(breaker, number * 60.0) == "closed"
        breaker = failed(breaker, number * 60.0)
    assert state_of(breaker, (b.FAULTS - 1) * 60.0) == "open"


def test_a_few_faults_among_many_answers_do_not() -> None:
    breaker = Breaker()
    for moment in range(30):
        breaker = succeeded(breaker, moment / 10)
        if moment % 10 == 0:
            breaker = failed(breaker, moment / 10)
    assert sum(failure for _, failure in breaker.attempts) >= b.FAULTS
    assert state_of(breaker, 3.0) == "closed"


def test_after_a_pause_one_trial_is_made_and_no_second_beside_it() -> None:
    breaker = broken()
    assert not may_try(breaker, b.PAUSE_S - 0.1)
    assert may_try(breaker, b.PAUSE_S)
    under_way = tried(breaker, b.PAUSE_S)
    assert not may_try(under_way, b.PAUSE_S + 1)
    assert may_try(under_way, b.PAUSE_S + b.TRIAL_S)


def test_a_trial_that_succeeds_closes_it_and_one_that_fails_doubles_the_pause() -> None:
    at = b.PAUSE_S
    breaker = tried(broken(), at)
    assert state_of(succeeded(breaker, at, trial=True), at) == "closed"
    again = failed(breaker, at)
    assert b.pause_of(again) == 2 * b.PAUSE_S
    assert state_of(again, at + 2 * b.PAUSE_S - 0.1) == "open"
    assert state_of(again, at + 2 * b.PAUSE_S) == "half_open"


def test_a_trial_counts_no_more_once_a_fault_has_opened_it_again() -> None:
    at = b.PAUSE_S
    reopened = failed(tried(broken(), at), at + 1)
    assert succeeded(reopened, at + 2, trial=True) == reopened


def test_jobs_that_began_before_neither_close_nor_lengthen_it() -> None:
    breaker = broken()
    assert failed(breaker, 1.0) == breaker
    assert succeeded(breaker, 1.0) == breaker
    assert state_of(succeeded(breaker, b.PAUSE_S), b.PAUSE_S) == "half_open"


def test_an_engine_that_flaps_is_out_for_longer_each_time_until_it_was_calm() -> None:
    now, breaker, pauses = 0.0, Breaker(), []
    for _ in range(8):
        breaker = opened(breaker, now)
        pauses.append(b.pause_of(breaker))
        now += b.pause_of(breaker)
        breaker = succeeded(tried(breaker, now), now, trial=True)
        now += 1.0
    assert pauses == [2, 4, 8, 16, 32, 60, 60, 60]
    assert b.pause_of(opened(breaker, now + b.CALM_S)) == b.PAUSE_S


def test_a_clock_that_is_set_back_keeps_nobody_out() -> None:
    assert may_try(broken(1000.0), 500.0)


@given(
    st.lists(
        st.tuples(st.sampled_from(["fail", "succeed", "try", "trial"]), st.floats(0, 40)),
        max_size=60,
    )
)
def test_it_is_never_out_for_longer_than_the_cap_and_always_comes_back(
    steps: list[tuple[str, float]],
) -> None:
    now, breaker = 0.0, Breaker()
    for step, passed in steps:
        now += passed
        if step == "fail":
            breaker = failed(breaker, now)
        elif step == "succeed":
            breaker = succeeded(breaker, now)
        elif step == "try" and may_try(breaker, now):
            breaker = tried(breaker, now)
        elif step == "trial" and breaker.trial_at is not None:
            breaker = succeeded(breaker, now, trial=True)
        assert len(breaker.attempts) <= 32
    later = now + max(b.PAUSE_MAX_S, b.TRIAL_S)
    assert state_of(breaker, later) in ("closed", "half_open")
    if state_of(breaker, later) == "half_open":
        assert may_try(breaker, later)
        assert state_of(succeeded(tried(breaker, later), later, trial=True), later) == "closed"
