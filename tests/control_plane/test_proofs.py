"""When an engine is probed, and for how long the answer holds."""

from __future__ import annotations

from control_plane.continuation import Capability
from control_plane.health import Health, observe
from control_plane.proofs import RETRY_AFTER_S, Proof, attempted, due, known, postponed

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


def test_bad_moments_are_few_and_far_between() -> None:
    proof, now, attempts = Proof(), 100.0, 0
    while due(proof, UP, now):
        proof = attempted(proof, UP, None, now)
        attempts += 1
        assert not due(proof, UP, now)
        now += RETRY_AFTER_S[min(attempts - 1, len(RETRY_AFTER_S) - 1)]
    assert attempts == len(RETRY_AFTER_S) + 1
    assert not due(proof, UP, 1e9)
    assert known(proof, UP) == Capability()


def test_a_model_that_is_not_loaded_costs_no_attempt() -> None:
    proof = postponed(Proof(), UP, 100.0)
    assert (proof.attempts, due(proof, UP, 101.0), due(proof, UP, 102.0)) == (0, False, True)
