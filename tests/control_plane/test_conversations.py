"""Titles, ids, cursors and exports, apart from any store."""

from __future__ import annotations

from contextlib import suppress

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.problems import ProblemError
from control_plane.conversations import (
    UNTITLED,
    Message,
    Position,
    Summary,
    chosen_title,
    cursor,
    first_title,
    is_conversation_id,
    markdown_head,
    markdown_message,
    position,
)


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("What is rice?", "What is rice?"),
        ("  two\n\nlines\tand\x00 more ", "two lines and more"),
        ("", UNTITLED),
        ("\n\x00\u202e", UNTITLED),
        ("word " * 40, "word " * 14 + "word…"),
        ("x" * 200, "x" * 79 + "…"),
        ("x" * 80, "x" * 80),
        ("<b>bold</b>", "<b>bold</b>"),
    ],
)
def test_a_first_title_is_the_beginning_of_the_question(text: str, title: str) -> None:
    assert first_title(text) == title


@given(st.text())
def test_a_first_title_is_one_short_line(text: str) -> None:
    title = first_title(text)
    assert 0 < len(title) <= 80
    assert title == title.strip()
    assert not set(title) & set("\n\r\t\x00\x1b\u2028\u202e")
    assert chosen_title(title) == title


@pytest.mark.parametrize("given_title", ["", " \n ", "x" * 201, "\x00"])
def test_a_title_of_nothing_or_too_much_is_refused(given_title: str) -> None:
    with pytest.raises(ProblemError) as caught:
        chosen_title(given_title)
    assert (caught.value.code, caught.value.field) == ("invalid_request", "title")


@given(st.floats(0, 1e12), st.integers(0, (1 << 31) - 1))
def test_a_cursor_names_its_position(at: float, number: int) -> None:
    for found in (Position(at, number), Position(at, f"c-{number}")):
        assert position(cursor(found), type(found.key)) == found
        assert cursor(found).isascii()


def test_no_cursor_is_no_position() -> None:
    assert position(None, str) is None


@pytest.mark.parametrize(
    "given_cursor",
    ["", "x", "é", "!!!!", "a" * 5000]
    + [
        cursor(msgspec.convert(raw, Position))
        for raw in ([1.0, "a/b"], [1.0, ""], [1.0, "\x00"], [1.0, 3])
    ],
)
def test_a_cursor_that_is_not_ours_is_refused(given_cursor: str) -> None:
    with pytest.raises(ProblemError) as caught:
        position(given_cursor, str)
    assert (caught.value.code, caught.value.field) == ("invalid_request", "before")


@given(st.text())
def test_any_cursor_is_read_or_refused(text: str) -> None:
    with suppress(ProblemError):
        position(text, int)


def test_ids_are_what_a_path_can_name() -> None:
    for good in ("c-1", "…", "a b", "%2F", "x" * 256, "..."):
        assert is_conversation_id(good)
    for bad in ("", ".", "..", "a/b", "a\x00", "\n", "x" * 257, "\ud800"):
        assert not is_conversation_id(bad)


def test_an_export_says_who_said_what_and_how_it_ended() -> None:
    summary = Summary(id="c", title=None, created_at=0.0, updated_at=0.0)
    assert markdown_head(summary) == f"# {UNTITLED}\n\n1970-01-01 00:00 UTC\n"

    def message(role: str, **more: str | None) -> str:
        members = {"text": "# hi", "job_id": "j", "created_at": 0.0} | more
        return markdown_message(Message(role=role, **members))  # type: ignore[arg-type]

    assert message("user") == "\n## You\n\n# hi\n"
    assert message("assistant", model="m", outcome="completed") == "\n## m\n\n# hi\n"
    assert "stopped" in message("assistant", outcome="cancelled")
    assert "cannot be opened" in message("assistant", text=None)
