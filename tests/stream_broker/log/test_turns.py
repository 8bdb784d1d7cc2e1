"""Whose events a flush takes: all there are, or by turns with those first who have little."""

from __future__ import annotations

from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st

from stream_broker.events import OVERHEAD, Event
from stream_broker.log.turns import FLUSH_EVENTS, TURN_EVENTS, Turns

EVENTS = 16
SIZE = 16 * (100 + OVERHEAD)
WORD = b"x" * 50

Added = list[tuple[str, list[int]]]
Batch = list[tuple[str, list[Event]]]
JOBS = st.sampled_from("abcdefgh")
SIZES = st.lists(st.integers(0, 120) | st.integers(0, SIZE * 2), min_size=1, max_size=20)
ADDED = st.lists(st.tuples(JOBS, SIZES), max_size=6)


class Ledger:
    """Turns, and what was put into them and what came out, by job."""

    def __init__(self) -> None:
        self.turns: Turns[str] = Turns(EVENTS, SIZE)
        self.added: dict[str, list[Event]] = {}
        self.taken: dict[str, list[Event]] = {}

    def add(self, job: str, sizes: Iterable[int]) -> None:
        known = self.added.setdefault(job, [])
        fresh = [
            Event(len(known) + number, "token", b"x" * size) for number, size in enumerate(sizes, 1)
        ]
        known += fresh
        self.turns.add(job, fresh)

    def flush(self) -> Batch:
        batch = self.turns.take()
        for job, events in batch:
            self.taken.setdefault(job, []).extend(events)
            self.turns.done(job, len(events))
        return batch


def words(count: int, first: int = 1) -> list[Event]:
    return [Event(seq, "token", WORD) for seq in range(first, first + count)]


def sizes(batch: Batch) -> list[int]:
    return [event.size for _, events in batch for event in events]


@given(st.lists(ADDED, max_size=6))
def test_order_is_kept_bounds_are_kept_and_all_of_it_is_written(rounds: list[Added]) -> None:
    ledger = Ledger()
    for added in rounds:
        for job, of_job in added:
            ledger.add(job, of_job)
        there = bool(ledger.turns)
        batch = ledger.flush()
        assert bool(batch) == there
        assert len({job for job, _ in batch}) == len(batch)
        assert all(events for _, events in batch)
        assert len(sizes(batch)) <= EVENTS
        assert sum(sizes(batch)) <= SIZE + max(sizes(batch), default=0)
    while ledger.turns:
        ledger.flush()
    assert ledger.taken == ledger.added
    assert ledger.turns.take() == []


@given(ADDED, ADDED)
def test_nobody_waits_longer_than_all_others_have_had_a_turn(
    before: Added, meanwhile: Added
) -> None:
    ledger = Ledger()
    for job, of_job in before:
        ledger.add(job, of_job)
    ledger.add("last", [SIZE * 2])
    for _ in range(len(ledger.added)):
        ledger.flush()
        for job, of_job in meanwhile:
            ledger.add(job, of_job)
    assert "last" in ledger.taken


@given(st.integers(1, EVENTS // 4), st.integers(1, 40), st.integers(EVENTS, 200))
def test_who_has_little_goes_in_the_next_flush_whoever_floods(
    quiet: int, flooding: int, each: int
) -> None:
    turns: Turns[str] = Turns(EVENTS, SIZE)
    for number in range(flooding):
        turns.add(f"flood {number}", words(each))
    for number in range(quiet):
        turns.add(f"quiet {number}", words(2))
    batch = turns.take()
    assert [job for job, _ in batch[:quiet]] == [f"quiet {number}" for number in range(quiet)]
    assert len(batch) > quiet
    assert sum(len(events) for _, events in batch) == EVENTS


@given(st.dictionaries(JOBS, st.integers(1, 2), max_size=8))
def test_what_one_flush_has_room_for_goes_at_once(waiting: dict[str, int]) -> None:
    turns: Turns[str] = Turns(EVENTS, SIZE)
    for job, count in waiting.items():
        turns.add(job, words(count))
    batch = turns.take()
    assert [(job, len(events)) for job, events in batch] == list(waiting.items())


def test_what_comes_while_a_flush_is_under_way_is_not_part_of_it() -> None:
    turns: Turns[str] = Turns(EVENTS, SIZE)
    turns.add("a", words(2))
    batch = turns.take()
    turns.add("a", words(1, 3))
    assert batch == [("a", words(2))]
    turns.done("a", 2)
    assert turns.take() == [("a", words(1, 3))]


def test_a_job_that_is_dropped_makes_room() -> None:
    turns: Turns[str] = Turns(EVENTS, SIZE)
    turns.add("flood", words(10 * EVENTS))
    turns.add("quiet", words(1))
    turns.drop("flood")
    turns.drop("flood")
    assert turns.take() == [("quiet", words(1))]
    assert "flood" not in turns
    assert list(turns) == ["quiet"]


def test_a_turn_is_bounded_so_that_several_have_theirs_in_one_flush() -> None:
    turns: Turns[str] = Turns()
    for number in range(100):
        turns.add(f"flood {number}", words(2 * FLUSH_EVENTS))
    assert {len(events) for _, events in turns.take()} == {TURN_EVENTS}
    assert len(turns.take()) == FLUSH_EVENTS // TURN_EVENTS


def test_two_that_flood_have_half_a_flush_each() -> None:
    turns: Turns[str] = Turns()
    for job in "ab":
        turns.add(job, words(2 * FLUSH_EVENTS))
    assert [len(events) for _, events in turns.take()] == [FLUSH_EVENTS // 2] * 2
