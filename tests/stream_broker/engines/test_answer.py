"""HTTP answers: where they end, and whether the connection may be used again."""

from __future__ import annotations

import pytest

from stream_broker.engines.answer import HEAD_MAX, HttpAnswer
from tests.stream_broker.engines.wires import cut

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n"


@pytest.mark.parametrize("step", [1, 7, 1000])
def test_a_chunked_answer_in_any_pieces(step: int) -> None:
    answer = HttpAnswer()
    pieces = cut(CHUNKED, range(0, len(CHUNKED), step))
    assert b"".join(answer.feed(piece) for piece in pieces if piece) == b"abc"
    assert (answer.status, answer.complete, answer.reusable) == (200, True, True)


def test_chunks_of_one_read_come_as_one_piece() -> None:
    assert HttpAnswer().feed(CHUNKED) == b"abc"


@pytest.mark.parametrize(
    ("data", "complete", "reusable", "ends_with_close"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab", True, True, False),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab", False, False, False),
        (b"HTTP/1.1 200 OK\r\n\r\nab", False, False, True),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nab", True, False, False),
        (CHUNKED.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1), True, False, False),
        (CHUNKED[:-2], False, False, False),
        (CHUNKED + b"HTTP/1.1 200 OK\r\n", True, False, False),
    ],
)
def test_ends(data: bytes, complete: bool, reusable: bool, ends_with_close: bool) -> None:
    answer = HttpAnswer()
    answer.feed(data)
    assert answer.complete == complete
    assert answer.reusable == reusable
    assert answer.ends_with_close == ends_with_close


def test_a_second_answer_is_not_the_first_ones_body() -> None:
    answer = HttpAnswer()
    second = b"HTTP/1.1 500 Oops\r\nContent-Length: 1\r\n\r\nx"
    assert answer.feed(CHUNKED + second) == b"abc"
    assert answer.status == 200


def test_interim_answers_are_passed_over() -> None:
    answer = HttpAnswer()
    assert answer.feed(b"HTTP/1.1 100 Continue\r\n\r\n") == b""
    assert (answer.status, answer.complete) == (0, False)
    assert answer.feed(CHUNKED) == b"abc"


@pytest.mark.parametrize("data", [b"nonsense\r\n", b"HTTP/1.1 200 OK\r\nA: " + b"x" * HEAD_MAX])
def test_what_is_no_head_is_broken(data: bytes) -> None:
    answer = HttpAnswer()
    answer.feed(data)
    assert answer.broken
    assert answer.heard
