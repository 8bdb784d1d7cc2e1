"""API keys: only their hashes are kept."""

from __future__ import annotations

import secrets
from collections.abc import Sequence

import msgspec
from sqlalchemy import Connection, insert, select, update

from contracts.policy import KeyEntry, hash_key
from control_plane.auth import display_prefix
from control_plane.store.logins import end_logins
from control_plane.store.schema import api_keys, issued_tokens, logins, users
from control_plane.store.tokens import revoke_tokens


class KeyRecord(msgspec.Struct, frozen=True, kw_only=True):
    """An API key as its owner may see it: never the key. Times are Unix seconds."""

    id: str
    name: str
    prefix: str
    scopes: list[str]
    created_at: float
    expires_at: float | None


def add_key(
    connection: Connection,
    user_id: str,
    api_key: str,
    *,
    name: str,
    scopes: Sequence[str],
    expires_at: float | None,
    now: float,
) -> KeyRecord:
    """Keeps the hash of a new key."""
    record = KeyRecord(
        id=f"key_{secrets.token_hex(8)}",
        name=name,
        prefix=display_prefix(api_key),
        scopes=list(scopes),
        created_at=now,
        expires_at=expires_at,
    )
    row = msgspec.structs.asdict(record) | {"scopes": " ".join(scopes)}
    connection.execute(
        insert(api_keys).values(user_id=user_id, hash=hash_key(api_key), revoked_at=None, **row)
    )
    return record


def list_keys(connection: Connection, user_id: str) -> list[KeyRecord]:
    """A user's keys that are not revoked, oldest first."""
    columns = api_keys.c
    rows = connection.execute(
        select(
            columns.id,
            columns.name,
            columns.prefix,
            columns.scopes,
            columns.created_at,
            columns.expires_at,
        )
        .where(columns.user_id == user_id, columns.revoked_at.is_(None))
        .order_by(columns.created_at, columns.id)
    )
    return [KeyRecord(**(dict(row) | {"scopes": row["scopes"].split()})) for row in rows.mappings()]


def revoke_key(connection: Connection, user_id: str, key_id: str, now: float) -> bool:
    """Ends a user's key, and every token and login that was made from it.

    Returns False when the user has no such key, or it was revoked before.
    """
    revoked = connection.execute(
        update(api_keys)
        .where(
            api_keys.c.id == key_id, api_keys.c.user_id == user_id, api_keys.c.revoked_at.is_(None)
        )
        .values(revoked_at=now)
    ).rowcount
    if revoked:
        revoke_tokens(connection, issued_tokens.c.key_id == key_id, now)
        end_logins(connection, logins.c.key_id == key_id, now)
    return bool(revoked)


def owner_of_key(connection: Connection, key_id: str) -> str | None:
    """The id of the user whose key it is."""
    found: str | None = connection.scalar(select(api_keys.c.user_id).where(api_keys.c.id == key_id))
    return found


def is_revoked(connection: Connection, api_key: str) -> bool | None:
    """Whether a key was revoked; None when there is none like it."""
    row = connection.execute(
        select(api_keys.c.revoked_at).where(api_keys.c.hash == hash_key(api_key))
    ).first()
    return None if row is None else row.revoked_at is not None


def all_keys(connection: Connection) -> dict[str, tuple[str, KeyEntry]]:
    """Every key that is not revoked: hash -> (id, entry)."""
    columns = api_keys.c
    rows = connection.execute(
        select(
            columns.hash,
            columns.id,
            columns.user_id,
            columns.scopes,
            columns.expires_at,
            users.c.tier,
        )
        .join(users, users.c.id == columns.user_id)
        .where(columns.revoked_at.is_(None), users.c.disabled_at.is_(None))
    )
    return {
        row.hash: (
            row.id,
            KeyEntry(
                user_id=row.user_id,
                tier=row.tier,
                scopes=row.scopes.split(),
                expires_at=row.expires_at,
            ),
        )
        for row in rows
    }
