"""Refusals are counted, and a flood of them is a few lines."""

from __future__ import annotations

from control_plane.store.audit import Entry
from control_plane.tally import Tally

NOW = 1_800_000_000.0


def test_the_same_refusals_are_one_line_with_their_number() -> None:
    tally = Tally()
    for second in range(1000):
        tally.add("user_1", "grant", "quota_exceeded", NOW + second)
    tally.add("user_1", "grant", "too_many_streams", NOW)
    assert tally.take() == [
        Entry(
            at=NOW, actor="user_1", action="grant", outcome="quota_exceeded", detail={"count": 1000}
        ),
        Entry(
            at=NOW, actor="user_1", action="grant", outcome="too_many_streams", detail={"count": 1}
        ),
    ]
    assert tally.take() == []


def test_however_many_are_refused_the_lines_are_bounded() -> None:
    tally = Tally(most=10)
    for number in range(1000):
        tally.add(f"user_{number}", "grant", "quota_exceeded", NOW)
    lines = tally.take()
    assert len(lines) == 11
    assert sum(line.detail["count"] for line in lines) == 1000
    assert lines[-1].actor == "others"


def test_what_could_not_be_written_is_counted_again() -> None:
    tally = Tally()
    tally.add("user_1", "login", "unauthenticated", NOW)
    lines = tally.take()
    tally.add("user_1", "login", "unauthenticated", NOW + 60)
    tally.restore(lines)
    (line,) = tally.take()
    assert (line.at, line.detail) == (NOW, {"count": 2})
