"""Keys and the tokens that were made from them."""

from __future__ import annotations

from sqlalchemy import Connection, func, select

from contracts.policy import SessionClaims, hash_key
from control_plane.store.keys import KeyRecord, add_key, all_keys, list_keys, revoke_key
from control_plane.store.schema import issued_tokens
from control_plane.store.tokens import note_token, prune_tokens, revoke_token, revoked_tokens
from control_plane.store.users import LOCAL_USER, all_users, seed
from tests.control_plane.harness import API_KEY, NOW

OTHER_KEY = "ok_" + "B" * 43


def session(jti: str = "one", sub: str = "u", exp: float = NOW + 100) -> SessionClaims:
    return SessionClaims(sub=sub, tier="gold", scopes=["generate"], jti=jti, iat=NOW, exp=exp)


def add(connection: Connection, key: str, expires_at: float | None = None) -> KeyRecord:
    return add_key(
        connection, "u", key, name="k", scopes=["generate"], expires_at=expires_at, now=NOW
    )


def test_seeding_is_idempotent_and_adds_a_changed_key(connection: Connection) -> None:
    for key in (API_KEY, API_KEY, OTHER_KEY, API_KEY):
        assert seed(connection, key, NOW)
    prefixes = [record.prefix for record in list_keys(connection, LOCAL_USER)]
    assert sorted(prefixes) == ["ok_AAAAAA", "ok_BBBBBB"]
    assert [user.name for user in all_users(connection)] == ["local", "u", "v"]


def test_a_revoked_seed_stays_revoked(connection: Connection) -> None:
    seed(connection, API_KEY, NOW)
    (record,) = list_keys(connection, LOCAL_USER)
    assert revoke_key(connection, LOCAL_USER, record.id, NOW)
    assert not seed(connection, API_KEY, NOW)
    assert all_keys(connection) == {}


def test_nobody_can_revoke_the_key_of_another(connection: Connection) -> None:
    record = add(connection, OTHER_KEY)
    assert not revoke_key(connection, "v", record.id, NOW)
    assert list_keys(connection, "v") == []
    assert list_keys(connection, "u") == [record]
    assert all_keys(connection)[hash_key(OTHER_KEY)][1].user_id == "u"


def test_a_key_is_revoked_once(connection: Connection) -> None:
    record = add(connection, OTHER_KEY)
    assert revoke_key(connection, "u", record.id, NOW)
    assert not revoke_key(connection, "u", record.id, NOW)
    assert all_keys(connection) == {}


def test_revoked_tokens_are_told_until_no_clock_accepts_them(connection: Connection) -> None:
    note_token(connection, session())
    for _ in range(2):
        revoke_token(connection, "one", NOW)
    assert revoked_tokens(connection, NOW + 129) == ["one"]
    assert revoked_tokens(connection, NOW + 130) == []
    kept = select(func.count()).select_from(issued_tokens)
    prune_tokens(connection, NOW + 159)
    assert connection.scalar(kept) == 1
    prune_tokens(connection, NOW + 161)
    assert connection.scalar(kept) == 0


def test_revoking_a_key_revokes_its_tokens_and_no_others(connection: Connection) -> None:
    mine, other = add(connection, API_KEY), add(connection, OTHER_KEY)
    note_token(connection, session("a"), key_id=mine.id)
    note_token(connection, session("b"), key_id=mine.id)
    note_token(connection, session("c"), key_id=other.id)
    revoke_token(connection, "a", NOW)
    revoke_key(connection, "u", mine.id, NOW)
    assert sorted(revoked_tokens(connection, NOW)) == ["a", "b"]
