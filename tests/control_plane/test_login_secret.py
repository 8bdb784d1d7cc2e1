"""The cookie that keeps a browser signed in."""

from __future__ import annotations

import pytest

from control_plane.login_secret import GRACE_S, LoginSecret, judge, new_secret, parse_secret

NOW = 1_800_000_000.0
KEY = b"k" * 32


def test_it_is_read_as_it_was_written_and_shown_nowhere() -> None:
    secret = new_secret()
    assert parse_secret(str(secret)) == secret
    assert secret.turn not in repr(secret)
    assert secret.family not in repr(secret)
    assert new_secret() != secret


@pytest.mark.parametrize(
    "cookie", [None, "", ".", "a.b", "a" * 43, "a" * 43 + "." + "b" * 42, "é" * 43 + "." + "b" * 43]
)
def test_anything_else_is_none_of_ours(cookie: str | None) -> None:
    assert parse_secret(cookie) is None


def test_the_next_turn_is_the_same_for_both_of_two_tabs() -> None:
    secret = new_secret()
    following = secret.next(KEY)
    assert following == secret.next(KEY)
    assert following != secret.next(b"x" * 32)
    assert following.family == secret.family
    assert parse_secret(str(following)) == following
    assert len({secret.turn, following.turn, following.next(KEY).turn}) == 3


def verdict(given: LoginSecret, after_s: float = 0.0) -> str:
    return judge(given, CURRENT.turn_hash, FIRST.turn_hash, NOW, NOW + after_s)


FIRST = new_secret()
CURRENT = FIRST.next(KEY)


def test_the_turn_before_counts_for_a_few_seconds() -> None:
    assert verdict(CURRENT, 1e6) == "current"
    assert verdict(FIRST, GRACE_S) == "again"
    assert verdict(FIRST, GRACE_S + 0.1) == "replaced"
    assert verdict(CURRENT.next(KEY)) == "replaced"


def test_before_the_first_turn_there_is_none() -> None:
    other = LoginSecret(FIRST.family, "")
    assert judge(FIRST, FIRST.turn_hash, None, NOW, NOW) == "current"
    assert judge(other, FIRST.turn_hash, None, NOW, NOW) == "replaced"
