from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_broker.outages import Outages


def test_a_log_that_always_answered_was_never_away() -> None:
    outages = Outages()
    outages.answered("a", 10.0)
    assert outages.quiet_for("a", 11.0) == float("inf")
    assert not outages.was_away("a", 10.0, 5.0)


def test_an_absence_lasts_from_the_first_failure_to_the_first_answer() -> None:
    outages = Outages()
    for now in (10.0, 11.0, 12.0):
        outages.away("a", now)
        assert outages.quiet_for("a", now) == 0.0
    outages.answered("a", 13.0)
    outages.answered("a", 14.0)
    assert outages.quiet_for("a", 15.0) == 2.0
    assert outages.quiet_for("b", 15.0) == float("inf")


@pytest.mark.parametrize(
    ("at", "away"), [(8.9, False), (9.0, True), (11.0, True), (14.0, True), (14.1, False)]
)
def test_what_happened_during_an_absence_is_known_later(at: float, away: bool) -> None:
    outages = Outages()
    outages.away("a", 10.0)
    outages.answered("a", 13.0)
    assert outages.was_away("a", at, 1.0) is away
    assert not outages.was_away("b", at, 1.0)


def test_an_absence_that_goes_on_has_no_end() -> None:
    outages = Outages()
    outages.away("a", 10.0)
    assert outages.was_away("a", 1e9, 1.0)
    assert not outages.was_away("a", 8.0, 1.0)


@given(st.lists(st.booleans(), max_size=1000))
def test_only_so_many_are_kept(answers: list[bool]) -> None:
    outages = Outages()
    for now, answered in enumerate(answers * 3):
        (outages.answered if answered else outages.away)("a", float(now))
    assert len(outages._over.get("a", ())) <= 64
