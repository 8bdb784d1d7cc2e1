from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from stream_broker.patience import Patience

START = 100.0


def test_a_client_that_takes_nothing_is_given_up_after_the_limit() -> None:
    patience = Patience(8.0)
    looks = [START]
    while (again := patience.look(looks[-1], 5000)) > looks[-1]:
        looks.append(again)
    assert looks == [START, START + 2, START + 4, START + 6, START + 8]


def test_one_byte_is_progress() -> None:
    patience = Patience(8.0)
    now = START
    for unsent in range(5000, 4000, -1):
        again = patience.look(now, unsent)
        assert again > now
        now = again
    assert now > START + 8.0


def test_progress_begins_the_time_anew() -> None:
    patience = Patience(8.0)
    patience.look(START, 5000)
    patience.look(START + 6, 4999)
    assert patience.look(START + 13, 4999) == START + 14
    assert patience.look(START + 14, 4999) <= START + 14


def test_more_to_take_is_no_progress() -> None:
    patience = Patience(8.0)
    patience.look(START, 5000)
    patience.look(START + 4, 6000)
    assert patience.look(START + 8, 6000) <= START + 8


def test_what_was_written_meanwhile_hides_no_later_progress() -> None:
    patience = Patience(8.0)
    patience.look(START, 5000)
    patience.look(START + 4, 6000)
    assert patience.look(START + 8, 5500) > START + 8


def test_it_begins_anew_when_the_client_has_taken_enough() -> None:
    patience = Patience(8.0)
    patience.look(START, 5000)
    assert patience.tried
    patience.end()
    assert not patience.tried
    assert patience.look(START + 100, 5000) > START + 100


@given(st.lists(st.tuples(st.floats(0.001, 9), st.integers(0, 3)), min_size=1))
def test_who_is_given_up_has_taken_nothing_for_the_limit(steps: list[tuple[float, int]]) -> None:
    patience = Patience(8.0)
    now, unsent, took_at = START, 5000, START
    patience.look(now, unsent)
    for passed, taken in steps:
        now += passed
        unsent -= taken
        took_at = now if taken else took_at
        again = patience.look(now, unsent)
        assert (again <= now) == (now - took_at >= 8.0)
        assert again <= max(now, took_at + 8.0)
