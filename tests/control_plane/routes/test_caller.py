"""What the client's scheme is taken from."""

from __future__ import annotations

import pytest
from starlette.requests import Request

from control_plane.routes.caller import address_of, scheme_of


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


@pytest.mark.parametrize(
    ("peer", "said", "address"),
    [
        ("10.0.0.41", "10.0.0.7", "10.0.0.7"),
        ("10.0.0.41", "1.2.3.4, 10.0.0.7", "10.0.0.7"),
        ("10.0.0.41", None, "10.0.0.41"),
        ("10.0.0.41", "", "10.0.0.41"),
        ("127.0.0.1", "10.0.0.7", "10.0.0.7"),
        ("10.0.0.9", "10.0.0.7", "10.0.0.9"),
        (None, "10.0.0.7", ""),
    ],
)
def test_only_an_ingress_says_where_the_client_is(
    peer: str | None, said: str | None, address: str
) -> None:
    headers = [] if said is None else [(b"x-forwarded-for", said.encode())]
    scope = {"type": "http", "path": "/", "headers": headers, "client": (peer, 1) if peer else None}
    assert address_of(Request(scope), frozenset({"10.0.0.41"})) == address
