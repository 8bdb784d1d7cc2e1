"""Users, API keys and revoked tokens."""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Sequence
from typing import Final

import msgspec

from contracts.policy import SCOPES, KeyEntry, SessionClaims, hash_key
from contracts.tokens import CLOCK_TOLERANCE_S
from control_plane.auth import Identity, KeyProof, Proof, display_prefix, unauthenticated

LOCAL_USER: Final = "local"
LOCAL_TIER: Final = "standard"


class KeyRecord(msgspec.Struct, frozen=True, kw_only=True):
    """An API key as its owner may see it: never the key. Times are Unix seconds."""

    id: str
    prefix: str
    scopes: list[str]
    created_at: float
    expires_at: float | None


def seed(connection: sqlite3.Connection, api_key: str, now: float) -> bool:
    """Makes the built-in user and its first key where they are not there yet.

    A key that is there stays as it is, also when it was revoked. Returns whether the key
    opens anything.
    """
    connection.execute(
        "INSERT INTO users VALUES (?, ?, ?) ON CONFLICT DO NOTHING", (LOCAL_USER, LOCAL_TIER, now)
    )
    row = connection.execute(
        "SELECT revoked_at IS NULL FROM api_keys WHERE hash = ?", (hash_key(api_key),)
    ).fetchone()
    if row is None:
        add_key(connection, LOCAL_USER, api_key, SCOPES, None, now)
    return row is None or bool(row[0])


def identify(connection: sqlite3.Connection, proof: Proof, now: float) -> Identity:
    """The caller behind a proof. Raises ProblemError `unauthenticated` when the key or
    token is unknown, expired or revoked, or its user is gone."""
    if isinstance(proof, KeyProof):
        return _identify_key(connection, proof, now)
    return _identify_session(connection, proof)


def _identify_key(connection: sqlite3.Connection, proof: KeyProof, now: float) -> Identity:
    row = connection.execute(
        "SELECT k.id, k.user_id, u.tier, k.scopes, k.expires_at"
        " FROM api_keys k JOIN users u ON u.id = k.user_id"
        " WHERE k.hash = ? AND k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > ?)",
        (proof.key_hash, now),
    ).fetchone()
    if row is None:
        raise unauthenticated()
    key_id, user_id, tier, scopes, expires_at = row
    return Identity(user_id, tier, tuple(scopes.split()), "key", key_id, expires_at)


def _identify_session(connection: sqlite3.Connection, claims: SessionClaims) -> Identity:
    row = connection.execute(
        "SELECT tier FROM users WHERE id = ?"
        " AND NOT EXISTS (SELECT 1 FROM revoked_tokens WHERE jti = ?)",
        (claims.sub, claims.jti),
    ).fetchone()
    if row is None:
        raise unauthenticated()
    return Identity(claims.sub, row[0], tuple(claims.scopes), "session", claims.jti, claims.exp)


def add_key(
    connection: sqlite3.Connection,
    user_id: str,
    api_key: str,
    scopes: Sequence[str],
    expires_at: float | None,
    now: float,
) -> KeyRecord:
    """Keeps the hash of a new key."""
    record = KeyRecord(
        id=f"key_{secrets.token_hex(8)}",
        prefix=display_prefix(api_key),
        scopes=list(scopes),
        created_at=now,
        expires_at=expires_at,
    )
    connection.execute(
        "INSERT INTO api_keys VALUES (?, ?, ?, ?, ?, ?, ?, NULL)",
        (
            record.id,
            user_id,
            hash_key(api_key),
            record.prefix,
            " ".join(scopes),
            now,
            expires_at,
        ),
    )
    return record


def list_keys(connection: sqlite3.Connection, user_id: str) -> list[KeyRecord]:
    """A user's keys that are not revoked, oldest first."""
    rows = connection.execute(
        "SELECT id, prefix, scopes, created_at, expires_at FROM api_keys"
        " WHERE user_id = ? AND revoked_at IS NULL ORDER BY created_at, rowid",
        (user_id,),
    )
    return [
        KeyRecord(
            id=key_id,
            prefix=prefix,
            scopes=scopes.split(),
            created_at=created_at,
            expires_at=expires_at,
        )
        for key_id, prefix, scopes, created_at, expires_at in rows
    ]


def revoke_key(connection: sqlite3.Connection, user_id: str, key_id: str, now: float) -> bool:
    """Ends a user's key and every session that was made from it.

    Returns False when the user has no such key, or it was revoked before.
    """
    revoked = connection.execute(
        "UPDATE api_keys SET revoked_at = ? WHERE id = ? AND user_id = ? AND revoked_at IS NULL",
        (now, key_id, user_id),
    ).rowcount
    if revoked:
        connection.execute(
            "INSERT INTO revoked_tokens SELECT jti, expires_at FROM issued_tokens"
            " WHERE key_id = ? ON CONFLICT DO NOTHING",
            (key_id,),
        )
    return bool(revoked)


def note_token(connection: sqlite3.Connection, claims: SessionClaims, key_id: str) -> None:
    """Remembers from which key a session token was made."""
    connection.execute(
        "INSERT INTO issued_tokens VALUES (?, ?, ?)", (claims.jti, key_id, claims.exp)
    )


def revoke_token(connection: sqlite3.Connection, jti: str, expires_at: float) -> None:
    """Ends one session token. Idempotent."""
    connection.execute(
        "INSERT INTO revoked_tokens VALUES (?, ?) ON CONFLICT DO NOTHING", (jti, expires_at)
    )


def key_entries(connection: sqlite3.Connection, now: float) -> dict[str, KeyEntry]:
    """Every key that opens something `now`, by its hash, for the policy snapshot."""
    rows = connection.execute(
        "SELECT k.hash, k.user_id, u.tier, k.scopes, k.expires_at"
        " FROM api_keys k JOIN users u ON u.id = k.user_id"
        " WHERE k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > ?)",
        (now,),
    )
    return {
        key_hash: KeyEntry(user_id=user_id, tier=tier, scopes=scopes.split(), expires_at=expires_at)
        for key_hash, user_id, tier, scopes, expires_at in rows
    }


def revoked_tokens(connection: sqlite3.Connection, now: float) -> list[str]:
    """Ids of revoked tokens that would otherwise still be accepted somewhere."""
    rows = connection.execute(
        "SELECT jti FROM revoked_tokens WHERE expires_at > ?", (now - CLOCK_TOLERANCE_S,)
    )
    return [jti for (jti,) in rows]


def prune_tokens(connection: sqlite3.Connection, now: float) -> None:
    """Forgets tokens that no clock would accept any more."""
    dead = (now - 2 * CLOCK_TOLERANCE_S,)
    connection.execute("DELETE FROM issued_tokens WHERE expires_at < ?", dead)
    connection.execute("DELETE FROM revoked_tokens WHERE expires_at < ?", dead)
