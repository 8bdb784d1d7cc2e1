"""When an engine is probed, and for how long the answer holds."""

from __future__ import annotations

from control_plane.continuation import Capability
from control_plane.health import Health, observe
from control_plane.proofs import (
    PROBE_S,
    RETRY_AFTER_S,
    Proof,
    attempted,
    due,
    is_tried,
    known,
    patience,
    postponed,
    recalled,
)

FOUND = Capability(continues=True)
UP = observe(Health(), True, 100.0)


def test_an_engine_is_probed_once_after_it_has_answered() -> None:
    assert not due(Proof(), Health(), 0.0)
    assert due(Proof(), UP, 100.0)
    proof = attempted(Proof(), UP, FOUND, 100.0)
    assert not due(proof, UP, 1e9)
    assert known(proof, UP) == FOUND


def test_a_no_is_an_answer_too() -> None:
    proof = attempted(Proof(), UP, Capability(), 100.0)
    assert not due(proof, UP, 1e9)


def test_after_it_was_away_nothing_is_known_and_it_is_probed_again() -> None:
    proof = attempted(Proof(), UP, FOUND, 100.0)
    down = observe(observe(UP, False, 101.0), False, 102.0)
    assert not due(proof, down, 102.0)
    back = observe(down, True, 103.0)
    assert known(proof, back) == Capability()
    assert due(proof, back, 103.0)


def test_one_missed_check_changes_nothing_but_waits() -> None:
    missed = observe(UP, False, 101.0)
    proof = attempted(Proof(), UP, FOUND, 100.0)
    assert known(proof, missed) == FOUND
    assert not due(Proof(), missed, 101.0)


def test_bad_moments_are_far_between_and_the_last_is_not_the_end() -> None:
    """An engine that is busy all day is proven once it has a moment."""
    proof, now = Proof(), 100.0
    for attempts in range(8):
        assert due(proof, UP, now)
        proof = attempted(proof, UP, None, now)
        pause = RETRY_AFTER_S[min(attempts, len(RETRY_AFTER_S) - 1)]
        assert not due(proof, UP, now + pause - 0.1)
        now += pause
    assert known(proof, UP) == Capability()
    assert not due(attempted(proof, UP, FOUND, now), UP, 1e9)


def test_the_first_attempt_is_short_and_the_others_wait_their_turn_at_the_engine() -> None:
    first, later = PROBE_S
    tried = attempted(Proof(), UP, None, 100.0)
    assert (patience(Proof(), UP), patience(tried, UP)) == (first, later)
    assert patience(tried, observe(Health(), True, 200.0)) == first


def test_a_model_that_is_not_loaded_costs_no_attempt() -> None:
    proof = postponed(Proof(), UP, 100.0)
    assert (proof.attempts, due(proof, UP, 101.0), due(proof, UP, 102.0)) == (0, False, True)


def test_what_a_process_before_has_found_out_is_probed_again_at_once() -> None:
    kept = recalled(FOUND)
    assert (known(kept, Health()), is_tried(kept, Health())) == (FOUND, False)
    assert (known(kept, UP), is_tried(kept, UP), due(kept, UP, 100.0)) == (FOUND, True, True)
    tried = attempted(kept, UP, None, 100.0)
    assert (known(tried, UP), due(tried, UP, 101.0), due(tried, UP, 102.0)) == (FOUND, False, True)
    assert known(attempted(tried, UP, Capability(), 102.0), UP) == Capability()
    assert not due(attempted(tried, UP, FOUND, 102.0), UP, 1e9)


def test_what_a_process_before_has_found_out_ends_when_the_engine_is_away() -> None:
    down = observe(observe(UP, False, 101.0), False, 102.0)
    again = observe(down, True, 103.0)
    assert known(recalled(FOUND), down) == Capability()
    tried = attempted(recalled(FOUND), UP, None, 100.0)
    assert known(tried, again) == Capability()
    assert not is_tried(tried, again)
