"""Browsers that are signed in, and the tokens that they were given."""

from __future__ import annotations

import secrets

import msgspec
from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    delete,
    exists,
    insert,
    or_,
    select,
    true,
    update,
)

from control_plane.login_secret import LoginSecret
from control_plane.store.schema import issued_tokens, logins, users
from control_plane.store.tokens import revoke_tokens

# How long a login that is over stays to be looked at.
_KEPT_S = 86_400.0


class Login(msgspec.Struct, frozen=True, kw_only=True):
    """A browser that is signed in, as its owner may see it. Times are Unix seconds."""

    id: str
    user_id: str
    user: str
    method: str
    created_at: float
    seen_at: float
    expires_at: float


def add_login(
    connection: Connection,
    secret: LoginSecret,
    *,
    user_id: str,
    key_id: str | None,
    method: str,
    expires_at: float,
    now: float,
) -> str:
    """Keeps a new login; returns its id. `key_id`: the API key it was made from."""
    login_id = f"login_{secrets.token_hex(8)}"
    connection.execute(
        insert(logins).values(
            id=login_id,
            user_id=user_id,
            key_id=key_id,
            secret_hash=secret.family_hash,
            turn_hash=secret.turn_hash,
            previous_hash=None,
            turned_at=now,
            method=method,
            created_at=now,
            seen_at=now,
            expires_at=expires_at,
            ended_at=None,
        )
    )
    return login_id


def find_login(
    connection: Connection, secret: LoginSecret, now: float
) -> Row[tuple[object]] | None:
    """The live login of this family, whatever the turn is; its whole row."""
    return connection.execute(
        select(logins).where(logins.c.secret_hash == secret.family_hash, _alive(now))
    ).first()


def turn_login(
    connection: Connection, login_id: str, secret: LoginSecret, expires_at: float, now: float
) -> None:
    """Makes `secret` the current turn."""
    connection.execute(
        update(logins)
        .where(logins.c.id == login_id)
        .values(
            previous_hash=logins.c.turn_hash,
            turn_hash=secret.turn_hash,
            turned_at=now,
            seen_at=now,
            expires_at=expires_at,
        )
    )


def end_logins(connection: Connection, which: ColumnElement[bool], now: float) -> int:
    """Ends logins and every token that was made for them; returns how many were alive."""
    alive = list(connection.scalars(select(logins.c.id).where(which, logins.c.ended_at.is_(None))))
    if alive:
        connection.execute(update(logins).where(logins.c.id.in_(alive)).values(ended_at=now))
        revoke_tokens(connection, issued_tokens.c.login_id.in_(alive), now)
    return len(alive)


def end_login(connection: Connection, login_id: str, now: float) -> bool:
    """Ends one login; False when there is none like it that is alive."""
    return end_logins(connection, logins.c.id == login_id, now) > 0


def end_logins_of(connection: Connection, user_id: str, now: float, keep: str | None = None) -> int:
    """Ends every login of a user, but the one with the id `keep`."""
    which = (logins.c.user_id == user_id) & (logins.c.id != (keep or ""))
    return end_logins(connection, which, now)


def end_everything_of(connection: Connection, user_id: str, now: float) -> int:
    """Ends every login of a user, and every token however it was made; keys stay."""
    ended = end_logins_of(connection, user_id, now)
    revoke_tokens(connection, issued_tokens.c.user_id == user_id, now)
    return ended


def login_of_token(connection: Connection, jti: str) -> str | None:
    """The login that a token was made for."""
    found: str | None = connection.scalar(
        select(issued_tokens.c.login_id).where(issued_tokens.c.jti == jti)
    )
    return found


def live_logins(
    connection: Connection, now: float, user_id: str | None = None, most: int = 1000
) -> list[Login]:
    """Logins of one user or of all, the one used last first."""
    whose = true() if user_id is None else logins.c.user_id == user_id
    columns = [logins.c[name] for name in Login.__struct_fields__ if name != "user"]
    rows = connection.execute(
        select(*columns, users.c.name.label("user"))
        .join(users, users.c.id == logins.c.user_id)
        .where(whose, _alive(now))
        .order_by(logins.c.seen_at.desc(), logins.c.id)
        .limit(most)
    )
    return [Login(**row) for row in rows.mappings()]


def prune_logins(connection: Connection, now: float) -> None:
    """Forgets logins that have been over for a day, once no token of theirs is kept."""
    over = or_(logins.c.expires_at < now - _KEPT_S, logins.c.ended_at < now - _KEPT_S)
    in_use = exists().where(issued_tokens.c.login_id == logins.c.id)
    connection.execute(delete(logins).where(over, ~in_use))


def _alive(now: float) -> ColumnElement[bool]:
    return logins.c.ended_at.is_(None) & (logins.c.expires_at > now)
