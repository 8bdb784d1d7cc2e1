"""As whom somebody comes in now, whatever was so when the login began."""

from __future__ import annotations

from sqlalchemy import Connection, select

from contracts.policy import SCOPES
from control_plane.auth import Identity
from control_plane.store.schema import api_keys, users


def standing(
    connection: Connection, user_id: str, key_id: str | None, now: float
) -> Identity | None:
    """The user with its tier, and with the scopes and the end of the key that it came with;
    by password or OpenID it may do everything. None when the user is locked out, or the key
    is revoked or expired."""
    user = connection.execute(
        select(users.c.tier).where(users.c.id == user_id, users.c.disabled_at.is_(None))
    ).first()
    if user is None:
        return None
    if key_id is None:
        return Identity(user_id, user.tier, SCOPES, "session", "", None)
    key = connection.execute(
        select(api_keys.c.scopes, api_keys.c.expires_at).where(
            api_keys.c.id == key_id,
            api_keys.c.user_id == user_id,
            api_keys.c.revoked_at.is_(None),
        )
    ).first()
    if key is None or (key.expires_at is not None and key.expires_at <= now):
        return None
    return Identity(
        user_id, user.tier, tuple(key.scopes.split()), "session", key_id, key.expires_at
    )
