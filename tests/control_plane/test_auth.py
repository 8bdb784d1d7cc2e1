"""Credentials, scopes and origins."""

from __future__ import annotations

import pytest

from contracts.policy import hash_key
from contracts.problems import ProblemError
from control_plane.auth import (
    Identity,
    KeyProof,
    bearer,
    check_origin,
    check_scopes,
    display_prefix,
    examine,
    is_api_key,
    is_service,
    new_api_key,
)
from tests.control_plane.harness import API_KEY, NOW, SERVICE_KEY


def identity(*scopes: str) -> Identity:
    return Identity("u", "standard", scopes, "key", "key_1", None)


def test_a_new_key_is_random_and_has_the_form_of_a_key() -> None:
    keys = {new_api_key() for _ in range(100)}
    assert len(keys) == 100
    assert all(is_api_key(key) and len(key) == 46 for key in keys)
    assert display_prefix(API_KEY) == "ok_AAAAAA"


@pytest.mark.parametrize("text", ["", "ok_", "ok_" + "A" * 42, "ok_" + "A" * 44, API_KEY + "\n"])
def test_what_has_not_the_form_is_no_key(text: str) -> None:
    assert not is_api_key(text)


def test_a_key_is_examined_as_its_hash() -> None:
    assert examine(API_KEY, {}, NOW) == KeyProof(hash_key(API_KEY))


@pytest.mark.parametrize(
    ("header", "credential"),
    [(None, None), ("Bearer x", "x"), ("bearer  x ", "x"), ("BEARER a b", "a b")],
)
def test_the_scheme_is_bearer_in_any_case(header: str | None, credential: str | None) -> None:
    assert bearer(header) == credential


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer ", "Basic x", "x"])
def test_any_other_authorization_is_refused(header: str) -> None:
    with pytest.raises(ProblemError, match="unauthenticated"):
        bearer(header)


@pytest.mark.parametrize(
    ("header", "accepted"),
    [
        (f"Bearer {SERVICE_KEY}", True),
        (f"bearer {SERVICE_KEY}", True),
        (f"Bearer {SERVICE_KEY}x", False),
        (f"Bearer {SERVICE_KEY[:-1]}", False),
        (f"Basic {SERVICE_KEY}", False),
        (SERVICE_KEY, False),
        ("Bearer é\udcff", False),
        (None, False),
    ],
)
def test_the_service_is_known_by_its_whole_key(header: str | None, accepted: bool) -> None:
    assert is_service(header, SERVICE_KEY) is accepted


def test_scopes_default_to_those_of_the_caller_and_keep_their_order() -> None:
    assert check_scopes(identity("generate"), None) == ("generate",)
    both = identity("generate", "keys")
    assert check_scopes(both, ["keys", "generate", "keys"]) == ("generate", "keys")
    assert check_scopes(both, []) == ()


@pytest.mark.parametrize(
    ("wanted", "code"), [(["keys"], "scope_missing"), (["all"], "invalid_request")]
)
def test_scopes_that_cannot_be_given(wanted: list[str], code: str) -> None:
    with pytest.raises(ProblemError, match=code):
        check_scopes(identity("generate"), wanted)


@pytest.mark.parametrize(
    ("method", "origin", "scheme", "host"),
    [
        ("GET", None, "http", "h"),
        ("HEAD", "http://evil", "http", "h"),
        ("POST", "http://h", "http", "h"),
        ("POST", "http://H:8080", "http", "h:8080"),
        ("DELETE", "https://h", "https", "h"),
    ],
)
def test_origins_that_may(method: str, origin: str | None, scheme: str, host: str) -> None:
    check_origin(method, origin, scheme, host)


@pytest.mark.parametrize(
    ("origin", "scheme", "host"),
    [
        (None, "http", "h"),
        ("http://h", "http", None),
        ("http://h", "https", "h"),
        ("http://h.evil", "http", "h"),
        ("http://h:81", "http", "h"),
        ("null", "http", "h"),
    ],
)
def test_origins_that_may_not(origin: str | None, scheme: str, host: str | None) -> None:
    with pytest.raises(ProblemError, match="origin_not_allowed"):
        check_origin("POST", origin, scheme, host)
