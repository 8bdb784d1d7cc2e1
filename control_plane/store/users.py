"""Users, tiers and what they are allowed."""

from __future__ import annotations

import secrets
from typing import Final

import msgspec
from sqlalchemy import Connection, select

from contracts.policy import SCOPES
from control_plane.allowance import FIELDS, Allowance, merged
from control_plane.store.engines import insert_into
from control_plane.store.keys import add_key, is_revoked
from control_plane.store.schema import allowances, tiers, users

LOCAL_USER: Final = "local"
LOCAL_TIER: Final = "standard"
FIRST_KEY: Final = "the first key"


class User(msgspec.Struct, frozen=True, kw_only=True):
    """A user and what it is allowed. Times are Unix seconds."""

    id: str
    name: str
    tier: str
    created_at: float
    disabled_at: float | None
    has_password: bool
    allowance: Allowance


def new_user_id() -> str:
    """A fresh id, never used again."""
    return f"user_{secrets.token_hex(8)}"


def seed(connection: Connection, api_key: str, now: float) -> bool:
    """Makes the first tier, the built-in user and its first key where they are not there yet.

    What is there stays as it is, also a key that was revoked. Returns whether the key
    opens anything.
    """
    connection.execute(
        insert_into(connection, tiers).values(name=LOCAL_TIER).on_conflict_do_nothing()
    )
    connection.execute(
        insert_into(connection, users)
        .values(id=LOCAL_USER, name=LOCAL_USER, tier=LOCAL_TIER, created_at=now)
        .on_conflict_do_nothing()
    )
    revoked = is_revoked(connection, api_key)
    if revoked is None:
        add_key(
            connection,
            LOCAL_USER,
            api_key,
            name=FIRST_KEY,
            scopes=SCOPES,
            expires_at=None,
            now=now,
        )
    return not revoked


def all_users(connection: Connection) -> list[User]:
    """Every user, in order of name."""
    own = {
        row["user_id"]: _allowance(row) for row in connection.execute(select(allowances)).mappings()
    }
    by_tier = {row["name"]: _allowance(row) for row in connection.execute(select(tiers)).mappings()}
    return [
        User(
            id=row["id"],
            name=row["name"],
            tier=row["tier"],
            created_at=row["created_at"],
            disabled_at=row["disabled_at"],
            has_password=row["password"] is not None,
            allowance=merged(by_tier[row["tier"]], own.get(row["id"], Allowance())),
        )
        for row in connection.execute(select(users).order_by(users.c.name)).mappings()
    ]


def _allowance(row: object) -> Allowance:
    return Allowance(**{name: row[name] for name in FIELDS})  # type: ignore[index]
