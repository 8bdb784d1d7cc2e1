from __future__ import annotations

import pytest

from contracts.grants import Usage
from stream_broker.tally import Tally


def counted(completion: int, prompt: int = 10, cached: int = 0) -> Usage:
    return Usage(prompt_tokens=prompt, completion_tokens=completion, cached_tokens=cached)


def members(prompt: int, completion: int, cached: int = 0, *, estimated: bool = False) -> object:
    usage: dict[str, object] = {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "cached_tokens": cached,
    }
    return usage | ({"estimated": True} if estimated else {})


class Place:
    """A tally, and what the engine that works has counted."""

    def __init__(self) -> None:
        self.tally = Tally(prompt_estimate=7)
        self.count: Usage | None = None

    def part(self, chunks: int, count: Usage | None) -> Place:
        self.count = count
        self.tally.count_by(lambda: self.count)
        self.tally.chunks += chunks
        return self


@pytest.mark.parametrize(
    ("running", "final", "told"),
    [
        (None, None, members(7, 3, estimated=True)),
        (counted(5), None, members(10, 5)),
        (counted(5), counted(6, cached=4), members(10, 6, 4)),
        (None, counted(6, cached=40), members(10, 6, 10)),
        (None, Usage(prompt_tokens=1, estimated=True), members(1, 0, estimated=True)),
    ],
)
def test_the_last_count_stands_and_chunks_where_there_is_none(
    running: Usage | None, final: Usage | None, told: object
) -> None:
    assert Place().part(3, running).tally.close(final) == told


def test_nothing_said_and_nothing_counted_is_an_estimate_of_the_prompt() -> None:
    assert Tally(7).close(None) == members(7, 0, estimated=True)


@pytest.mark.parametrize(
    ("first", "second", "told"),
    [
        # Both count: the prompt is the first one's, and nothing is estimated.
        (counted(5, 10, 2), counted(4, 15, 15), members(10, 9, 2)),
        # The first one's chunks are the estimate, and no part of the prompt.
        (None, counted(4, 15), members(12, 7, estimated=True)),
        # The second one's are.
        (counted(5), None, members(10, 8, estimated=True)),
        (None, None, members(7, 6, estimated=True)),
    ],
)
def test_another_engine_goes_on(first: Usage | None, second: Usage | None, told: object) -> None:
    place = Place().part(3, first)
    place.tally.next_part()
    assert place.part(3, second).tally.close(None) == told


def test_an_engine_that_has_not_said_anything_adds_nothing() -> None:
    place = Place().part(3, counted(5))
    place.tally.next_part()
    assert place.part(0, None).tally.close(None) == members(10, 5)


def test_what_is_left_of_the_limit_is_told_by_counts_where_there_are_some() -> None:
    place = Place().part(3, counted(8))
    assert place.tally.produced == 8
    place.tally.next_part()
    assert place.tally.produced == 8
    assert place.part(2, None).tally.produced == 10
    place.count = counted(1)
    assert place.tally.produced == 10


def test_it_is_closed_once_and_lets_go_of_the_engine() -> None:
    place = Place().part(3, counted(5))
    first = place.tally.close(None)
    place.count = counted(9)
    assert place.tally.close(counted(12)) is first


@pytest.mark.parametrize(
    ("running", "final", "reached"),
    [
        (None, counted(10), True),
        (None, counted(9), False),
        (counted(10), None, True),
        (counted(9), None, False),
        (None, None, True),
        (counted(10), counted(9), False),
    ],
)
def test_a_limit_is_reached_by_count(
    running: Usage | None, final: Usage | None, reached: bool
) -> None:
    assert Place().part(3, running).tally.reaches(10, final) is reached


def test_a_limit_is_reached_by_all_parts_together() -> None:
    place = Place().part(3, None)
    place.tally.next_part()
    assert place.part(1, None).tally.reaches(10, counted(7))
    assert not place.tally.reaches(10, counted(6))
