"""Bodies are taken out of responses in any pieces."""

from __future__ import annotations

import pytest

from bench.http_body import BadResponse, ResponseBody

CHUNKED = (
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"5\r\nhello\r\nb;x=1\r\n\r\n in parts\r\n0\r\n\r\n"
)
SIZED = b"HTTP/1.1 503 Away\r\nContent-Length: 5\r\n\r\nsorry"
UNTIL_CLOSED = b"HTTP/1.1 200 OK\r\n\r\nhello"


def body_of(response: bytes, size: int) -> tuple[bytes, ResponseBody]:
    body = ResponseBody()
    parts = [body.feed(response[at : at + size]) for at in range(0, len(response), size)]
    return b"".join(parts), body


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_a_chunked_body_loses_its_chunks(size: int) -> None:
    text, body = body_of(CHUNKED, size)
    assert text == b"hello\r\n in parts"
    assert body.ended


@pytest.mark.parametrize("size", [1, 1000])
def test_a_body_with_a_length_ends_after_it(size: int) -> None:
    text, body = body_of(SIZED, size)
    assert (text, body.status, body.ended) == (b"sorry", 503, True)


def test_a_body_without_either_ends_with_its_connection() -> None:
    text, body = body_of(UNTIL_CLOSED, 3)
    assert (text, body.ended) == (b"hello", False)


def test_what_is_not_http_is_refused() -> None:
    with pytest.raises(BadResponse):
        ResponseBody().feed(b"nonsense\r\n\r\n")
