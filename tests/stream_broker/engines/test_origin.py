"""Base URLs, and the bytes of a request."""

from __future__ import annotations

import pytest

from stream_broker.engines.call import HttpRequest
from stream_broker.engines.origin import Origin, origin_of


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("http://a:8000", Origin(False, "a", 8000, "a:8000", "")),
        ("http://a", Origin(False, "a", 80, "a", "")),
        ("https://a/base/", Origin(True, "a", 443, "a", "/base")),
        ("http://user:secret@a:1", Origin(False, "a", 1, "a:1", "")),
        ("http://[::1]:8000", Origin(False, "::1", 8000, "[::1]:8000", "")),
    ],
)
def test_a_base_url_is_an_origin(url: str, origin: Origin) -> None:
    assert origin_of(url) == origin


@pytest.mark.parametrize(
    "url", ["", "a:8000", "ftp://a", "http://", "http://a:x", "http://a:99999"]
)
def test_anything_else_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        origin_of(url)


def test_a_request_in_bytes() -> None:
    request = HttpRequest("POST", "/v1/x", (("Content-Type", "application/json"),), b"{}")
    assert origin_of("http://a:8000/base").encode(request) == (
        b"POST /base/v1/x HTTP/1.1\r\nHost: a:8000\r\nUser-Agent: okome\r\nContent-Length: 2\r\n"
        b"Content-Type: application/json\r\n\r\n{}"
    )
