"""The arithmetic by which failures are judged."""

from __future__ import annotations

import pytest

from tests.e2e.wire import Block
from tests.torture.watching import Stream, longest_gap

AT = [0.0, 1.0, 2.0, 5.0, 6.0]


@pytest.mark.parametrize(
    ("since", "until", "gap"),
    [(0.0, 6.0, 3.0), (0.0, 2.0, 1.0), (2.5, 3.0, 3.0), (5.5, 9.0, 3.0), (7.0, 8.0, 2.0)],
)
def test_the_longest_gap_that_touches_a_time(since: float, until: float, gap: float) -> None:
    assert longest_gap(AT, since, until) == gap


def test_nothing_has_no_gap() -> None:
    assert longest_gap([], 3.0, 3.0) == 0.0


def seen(*tokens: str, first: int = 1) -> Stream:
    stream = Stream("n04w0-x", "http://127.0.0.1")
    for number, token in enumerate(tokens, first):
        stream.seen.append(Block(str(number), "token", f'{{"token": "{token}"}}'))
    return stream


def test_a_text_that_counts_shows_loss_and_repetition() -> None:
    assert seen("w1 ", "w2 ", "w3 ").faults() == []
    assert seen("w1 ", "w2 ", "w").faults() == []
    assert seen("w1 ", "w3 ").faults() == ["n04w0-x: text 'w1 w3 '"]
    assert seen("w1 ", "w1 ").faults() == ["n04w0-x: text 'w1 w1 '"]
    assert seen("w1 ", "w2 ", first=2).faults() == ["n04w0-x: numbers"]
    assert seen("w1 ").home == "okome-node-04"


def test_only_a_log_that_is_away_ends_a_stream_without_a_number() -> None:
    def ended(code: str, number: str | None) -> Stream:
        stream = seen("w1 ", "w2 ")
        stream.seen.append(Block(number, "job_error", f'{{"code": "{code}"}}'))
        return stream

    assert ended("engine_stalled", "3").faults() == []
    wrong = ended("log_unavailable", None)
    assert wrong.faults() == ["n04w0-x: numbers"]
    wrong.told_without_a_log = True
    assert wrong.faults() == []
    other = ended("engine_stalled", None)
    other.told_without_a_log = True
    assert other.faults() == ["n04w0-x: numbers"]
