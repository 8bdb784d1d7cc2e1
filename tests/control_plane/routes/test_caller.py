"""What the client's scheme is taken from."""

from __future__ import annotations

import pytest
from starlette.requests import Request

from control_plane.routes.caller import scheme_of


@pytest.mark.parametrize(
    ("forwarded", "scheme"),
    [
        (None, "http"),
        ("https", "https"),
        (" HTTPS ", "https"),
        ("http", "http"),
        ("", "http"),
        ("ftp", "http"),
        ("https, http", "http"),
    ],
)
def test_the_ingress_says_by_which_scheme_the_client_came(
    forwarded: str | None, scheme: str
) -> None:
    headers = [] if forwarded is None else [(b"x-forwarded-proto", forwarded.encode())]
    scope = {"type": "http", "scheme": "http", "path": "/", "headers": headers, "server": ("h", 1)}
    assert scheme_of(Request(scope)) == scheme
