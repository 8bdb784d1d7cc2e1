"""What the jobs of a process may hold together that their log does not have yet."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_broker.backlog import LEAST, Backlog, Share

MOST = 64 << 10
TOTAL = 1 << 20


def filled(backlog: Backlog, step: int = 512) -> tuple[Share, int]:
    """A job that takes in all it may, and what it then holds."""
    share, unwritten = Share(backlog), step
    while not share.full(unwritten):
        unwritten += step
    return share, unwritten


def test_a_job_that_is_alone_may_hold_all_that_one_may() -> None:
    _, unwritten = filled(Backlog(MOST, total=TOTAL))
    assert MOST < unwritten <= MOST + 512


def test_many_jobs_share_the_total_and_the_last_one_gets_its_least() -> None:
    backlog = Backlog(MOST, total=TOTAL)
    held = [filled(backlog, 64)[1] for _ in range(1000)]
    assert backlog.held <= TOTAL + 1000 * 64
    assert sum(held) <= TOTAL + 1000 * (LEAST + 64)
    assert held == sorted(held, reverse=True)
    assert min(held) > LEAST


def test_what_costs_nothing_is_not_counted() -> None:
    backlog = Backlog(MOST, total=TOTAL)
    share = Share(backlog)
    assert not share.full(LEAST)
    assert share.taken(0)
    assert backlog.held == 0


def test_a_job_goes_on_when_half_of_its_part_is_written() -> None:
    backlog = Backlog(MOST, total=TOTAL)
    share, unwritten = filled(backlog)
    assert not share.taken(unwritten - 1024)
    assert not share.taken(MOST // 2)
    assert share.taken(MOST // 2 - 1)


def test_one_whose_events_are_all_written_goes_on_whatever_others_hold() -> None:
    backlog = Backlog(MOST, total=0)
    others = [filled(backlog, MOST) for _ in range(10)]
    share, _ = filled(backlog)
    assert backlog.held > len(others) * (MOST - LEAST)
    assert share.taken(0)
    assert not share.full(LEAST)


def test_a_job_that_ends_gives_its_part_back_once() -> None:
    backlog = Backlog(MOST, total=TOTAL)
    (first, _), (second, unwritten) = filled(backlog), filled(backlog)
    first.give_back()
    first.give_back()
    assert backlog.held == unwritten - LEAST
    second.give_back()
    assert backlog.held == 0


@pytest.mark.parametrize(("unwritten", "limit"), [(MOST + 1, "job"), (MOST, "broker")])
def test_a_pause_says_whose_limit_it_was(unwritten: int, limit: str) -> None:
    told = Counter[str]()
    Share(Backlog(MOST, lambda name: told.update([name]))).paused(unwritten)
    assert told == {limit: 1}


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 100_000)), max_size=100))
def test_what_is_held_is_the_sum_of_what_each_holds(steps: list[tuple[int, int]]) -> None:
    backlog = Backlog(MOST, total=TOTAL)
    shares, holds = [Share(backlog) for _ in range(10)], [0] * 10
    for number, unwritten in steps:
        if unwritten > holds[number]:
            assert shares[number].full(unwritten) == (unwritten > backlog.room)
        else:
            shares[number].taken(unwritten)
        holds[number] = unwritten
        assert backlog.held == sum(max(0, held - LEAST) for held in holds)
        assert LEAST <= backlog.room <= MOST
