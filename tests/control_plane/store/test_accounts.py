"""Users, keys and revoked tokens in the store."""

from __future__ import annotations

import sqlite3

import pytest
from control_plane.store.accounts import (
    add_key,
    identify,
    key_entries,
    list_keys,
    note_token,
    prune_tokens,
    revoke_key,
    revoke_token,
    revoked_tokens,
    seed,
)

from contracts.policy import SessionClaims, hash_key
from contracts.problems import ProblemError
from control_plane.auth import KeyProof
from tests.control_plane.harness import API_KEY, NOW

OTHER_KEY = "ok_" + "B" * 43


def session(jti: str = "one", sub: str = "local", exp: float = NOW + 100) -> SessionClaims:
    return SessionClaims(sub=sub, tier="gold", scopes=["generate"], jti=jti, iat=NOW, exp=exp)


def test_seeding_is_idempotent_and_adds_a_changed_key(connection: sqlite3.Connection) -> None:
    for key in (API_KEY, API_KEY, OTHER_KEY, API_KEY):
        assert seed(connection, key, NOW)
    prefixes = [record.prefix for record in list_keys(connection, "local")]
    assert prefixes == ["ok_AAAAAA", "ok_BBBBBB"]


def test_a_revoked_seed_stays_revoked(connection: sqlite3.Connection) -> None:
    seed(connection, API_KEY, NOW)
    (record,) = list_keys(connection, "local")
    assert revoke_key(connection, "local", record.id, NOW)
    assert not seed(connection, API_KEY, NOW)
    assert key_entries(connection, NOW) == {}


def test_the_tier_is_that_of_the_user_now_not_that_of_the_token(
    connection: sqlite3.Connection,
) -> None:
    seed(connection, API_KEY, NOW)
    assert identify(connection, session(), NOW).tier == "standard"


def test_a_token_of_a_user_that_is_gone_proves_nothing(connection: sqlite3.Connection) -> None:
    with pytest.raises(ProblemError, match="unauthenticated"):
        identify(connection, session(sub="ghost"), NOW)


def test_nobody_can_revoke_the_key_of_another(connection: sqlite3.Connection) -> None:
    record = add_key(connection, "u", OTHER_KEY, ["generate"], None, NOW)
    assert not revoke_key(connection, "v", record.id, NOW)
    assert list_keys(connection, "v") == []
    assert identify(connection, KeyProof(hash_key(OTHER_KEY)), NOW).user_id == "u"


def test_an_expired_key_is_in_no_snapshot(connection: sqlite3.Connection) -> None:
    add_key(connection, "u", OTHER_KEY, ["generate"], NOW + 10, NOW)
    assert list(key_entries(connection, NOW)) == [hash_key(OTHER_KEY)]
    assert key_entries(connection, NOW + 10) == {}


def test_revoked_tokens_are_told_until_no_clock_accepts_them(
    connection: sqlite3.Connection,
) -> None:
    revoke_token(connection, "one", NOW + 100)
    revoke_token(connection, "one", NOW + 100)
    assert revoked_tokens(connection, NOW + 129) == ["one"]
    assert revoked_tokens(connection, NOW + 130) == []
    prune_tokens(connection, NOW + 159)
    assert connection.execute("SELECT count(*) FROM revoked_tokens").fetchone() == (1,)
    prune_tokens(connection, NOW + 161)
    assert connection.execute("SELECT count(*) FROM revoked_tokens").fetchone() == (0,)


def test_revoking_a_key_revokes_its_tokens_and_no_others(connection: sqlite3.Connection) -> None:
    mine = add_key(connection, "u", API_KEY, ["generate"], None, NOW)
    other = add_key(connection, "u", OTHER_KEY, ["generate"], None, NOW)
    note_token(connection, session("a"), mine.id)
    note_token(connection, session("b"), mine.id)
    note_token(connection, session("c"), other.id)
    revoke_token(connection, "a", NOW + 100)
    revoke_key(connection, "u", mine.id, NOW)
    assert sorted(revoked_tokens(connection, NOW)) == ["a", "b"]
