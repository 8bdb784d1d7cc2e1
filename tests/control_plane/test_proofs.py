"""When an engine is probed, and for how long the answer holds."""

from __future__ import annotations

import pytest

from control_plane.continuation import Capability
from control_plane.health import Health, observe
from control_plane.proofs import (
    PROBE_S,
    RETRY_AFTER_S,
    Proof,
    Proven,
    attempted,
    due,
    is_tried,
    known,
    patience,
    postponed,
    recalled,
    recognized,
    seen,
)

FOUND = Capability(continues=True)
PROVEN = Proven(FOUND, "this one")
NOT = Proven(Capability(), "this one")
UP = observe(Health(), True, 100.0)


def test_an_engine_is_probed_once_after_it_has_answered() -> None:
    assert not due(Proof(), Health(), 0.0)
    assert due(Proof(), UP, 100.0)
    proof = attempted(Proof(), UP, PROVEN, 100.0)
    assert not due(proof, UP, 1e9)
    assert known(proof, UP) == FOUND


def test_a_no_is_an_answer_too() -> None:
    proof = attempted(Proof(), UP, NOT, 100.0)
    assert not due(proof, UP, 1e9)


def test_after_it_was_away_nothing_is_known_and_it_is_probed_again() -> None:
    proof = attempted(Proof(), UP, PROVEN, 100.0)
    down = observe(observe(UP, False, 101.0), False, 102.0)
    assert not due(proof, down, 102.0)
    back = observe(down, True, 103.0)
    assert known(proof, back) == Capability()
    assert due(proof, back, 103.0)


def test_one_missed_check_changes_nothing_but_waits() -> None:
    missed = observe(UP, False, 101.0)
    proof = attempted(Proof(), UP, PROVEN, 100.0)
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
    assert not due(attempted(proof, UP, PROVEN, now), UP, 1e9)


def test_the_first_attempt_is_short_and_the_others_wait_their_turn_at_the_engine() -> None:
    first, later = PROBE_S
    tried = attempted(Proof(), UP, None, 100.0)
    assert (patience(Proof(), UP), patience(tried, UP)) == (first, later)
    assert patience(tried, observe(Health(), True, 200.0)) == first


def test_a_model_that_is_not_loaded_costs_no_attempt() -> None:
    proof = postponed(Proof(), UP, 100.0)
    assert (proof.attempts, due(proof, UP, 101.0), due(proof, UP, 102.0)) == (0, False, True)


def test_what_a_process_before_has_found_out_is_probed_again_at_once() -> None:
    kept = recalled(PROVEN)
    assert (known(kept, Health()), is_tried(kept, Health())) == (FOUND, False)
    assert (known(kept, UP), is_tried(kept, UP), due(kept, UP, 100.0)) == (FOUND, True, True)
    tried = attempted(kept, UP, None, 100.0)
    assert (known(tried, UP), due(tried, UP, 101.0), due(tried, UP, 102.0)) == (FOUND, False, True)
    assert known(attempted(tried, UP, NOT, 102.0), UP) == Capability()
    assert not due(attempted(tried, UP, PROVEN, 102.0), UP, 1e9)


def test_what_a_process_before_has_found_out_ends_when_the_engine_is_away() -> None:
    down = observe(observe(UP, False, 101.0), False, 102.0)
    again = observe(down, True, 103.0)
    assert known(recalled(PROVEN), down) == Capability()
    tried = attempted(recalled(PROVEN), UP, None, 100.0)
    assert known(tried, again) == Capability()
    assert not is_tried(tried, again)


def _away_and_back() -> Health:
    return observe(observe(observe(UP, False, 101.0), False, 102.0), True, 103.0)


def test_of_an_engine_that_comes_back_as_the_same_the_same_is_known_until_it_is_probed() -> None:
    back = _away_and_back()
    proof = recognized(attempted(Proof(), UP, PROVEN, 100.0), back, "this one")
    assert (known(proof, back), due(proof, back, 103.0)) == (FOUND, True)
    tried = attempted(proof, back, None, 103.0)
    assert (known(tried, back), due(tried, back, 105.0)) == (FOUND, True)
    probed = attempted(tried, back, NOT, 105.0)
    assert (known(probed, back), due(probed, back, 1e9)) == (Capability(), False)


@pytest.mark.parametrize("identity", ["another one", None])
def test_of_one_that_may_be_another_nothing_is_known(identity: str | None) -> None:
    back = _away_and_back()
    proof = recognized(attempted(Proof(), UP, PROVEN, 100.0), back, identity)
    assert (known(proof, back), due(proof, back, 103.0)) == (Capability(), True)


def test_one_that_told_nothing_when_it_was_probed_is_not_recognized() -> None:
    back = _away_and_back()
    proof = attempted(Proof(), UP, Proven(FOUND), 100.0)
    assert known(recognized(proof, back, "this one"), back) == Capability()
    assert known(recognized(proof, back, None), back) == Capability()


def test_one_that_tells_nothing_at_first_may_still_be_recognized() -> None:
    back = _away_and_back()
    proof = recognized(attempted(Proof(), UP, PROVEN, 100.0), back, None)
    proof = attempted(proof, back, None, 103.0)
    assert known(recognized(proof, back, "this one"), back) == FOUND


def test_what_a_process_before_has_found_out_of_another_one_is_forgotten() -> None:
    other = recognized(recalled(PROVEN), UP, "another one")
    assert (known(other, UP), due(other, UP, 100.0)) == (Capability(), True)
    assert known(recognized(recalled(PROVEN), UP, None), UP) == FOUND


def test_what_a_process_before_has_found_out_is_recognized_after_an_absence_too() -> None:
    down = observe(observe(Health(), False, 101.0), False, 102.0)
    back = observe(down, True, 103.0)
    proof = seen(recalled(PROVEN), down)
    assert known(proof, back) == Capability()
    assert known(recognized(proof, back, "this one"), back) == FOUND
