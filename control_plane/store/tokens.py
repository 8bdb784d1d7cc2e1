"""Signed tokens that were given out, and which of them are revoked."""

from __future__ import annotations

from sqlalchemy import ColumnElement, Connection, delete, insert, select, update

from contracts.policy import SessionClaims
from contracts.tokens import CLOCK_TOLERANCE_S
from control_plane.store.schema import issued_tokens


def note_token(
    connection: Connection,
    claims: SessionClaims,
    *,
    key_id: str | None = None,
    login_id: str | None = None,
) -> None:
    """Remembers from which key or login a token was made."""
    connection.execute(
        insert(issued_tokens).values(
            jti=claims.jti,
            user_id=claims.sub,
            key_id=key_id,
            login_id=login_id,
            expires_at=claims.exp,
            revoked_at=None,
        )
    )


def revoke_tokens(connection: Connection, which: ColumnElement[bool], now: float) -> int:
    """Ends tokens; returns how many were alive."""
    return connection.execute(
        update(issued_tokens)
        .where(which, issued_tokens.c.revoked_at.is_(None))
        .values(revoked_at=now)
    ).rowcount


def revoke_token(connection: Connection, jti: str, now: float) -> None:
    """Ends one token. Idempotent."""
    revoke_tokens(connection, issued_tokens.c.jti == jti, now)


def spend_token(connection: Connection, jti: str, now: float) -> str | None:
    """Ends a token that was made from a key and belongs to no login, and returns the key's
    id; None for any other, also for one that was spent before."""
    columns = issued_tokens.c
    spent: str | None = connection.scalar(
        update(issued_tokens)
        .where(
            columns.jti == jti,
            columns.key_id.is_not(None),
            columns.login_id.is_(None),
            columns.revoked_at.is_(None),
        )
        .values(revoked_at=now)
        .returning(columns.key_id)
    )
    return spent


def revoked_tokens(connection: Connection, now: float) -> list[str]:
    """Ids of revoked tokens that would otherwise still be accepted somewhere."""
    columns = issued_tokens.c
    return list(
        connection.scalars(
            select(columns.jti).where(
                columns.revoked_at.is_not(None), columns.expires_at > now - CLOCK_TOLERANCE_S
            )
        )
    )


def prune_tokens(connection: Connection, now: float) -> None:
    """Forgets tokens that no clock would accept any more."""
    dead = now - 2 * CLOCK_TOLERANCE_S
    connection.execute(delete(issued_tokens).where(issued_tokens.c.expires_at < dead))
