"""What is asked of the engine survives being a message."""

from __future__ import annotations

from bench.ask import Ask, parse


def test_an_ask_is_read_back_as_it_was_written() -> None:
    ask = Ask(stream=3, rate=12.5, burst=4, tokens=9, start=0.031, hold=1)
    assert parse(ask.text()) == ask


def test_other_words_are_passed_over() -> None:
    assert parse("please rate=50 colour=red = tokens=2") == Ask(rate=50.0, tokens=2)
