"""Changes to users: made, locked out and let in, given a password or another tier."""

from __future__ import annotations

import re
from typing import Final

from sqlalchemy import Connection, insert, select, update

from contracts.problems import ProblemError
from control_plane.store.logins import end_everything_of
from control_plane.store.schema import tiers, users
from control_plane.store.users import new_user_id

NAME_MAX: Final = 64
# None that could be taken for an id.
_NAME: Final = re.compile(r"(?!user_[0-9a-f]{16}$)[a-z0-9][a-z0-9._@+-]{0,63}")


def plain_name(text: str) -> str | None:
    """A user's name as it is kept, None for what cannot be one: 1 to 64 characters of
    `a-z 0-9 . _ @ + -`, whatever case it is typed in."""
    name = text.strip().lower()
    return name if _NAME.fullmatch(name) else None


def add_user(
    connection: Connection,
    name: str,
    *,
    tier: str,
    now: float,
    password: str | None = None,
    subject: str | None = None,
) -> str:
    """Keeps a new user; returns its id. `password` is hashed.

    Raises ProblemError `invalid_request` for a name that is taken, or an unknown tier.
    """
    _require_tier(connection, tier)
    if connection.scalar(select(users.c.id).where(users.c.name == name)) is not None:
        raise ProblemError("invalid_request", "There is a user of this name.", field="name")
    user_id = new_user_id()
    connection.execute(
        insert(users).values(
            id=user_id,
            name=name,
            tier=tier,
            password=password,
            subject=subject,
            created_at=now,
            disabled_at=None,
        )
    )
    return user_id


def password_of(connection: Connection, name: str) -> tuple[str, str | None] | None:
    """(id, hashed password) of the user of this name; None when there is none that may
    come in."""
    row = connection.execute(
        select(users.c.id, users.c.password).where(
            users.c.name == name, users.c.disabled_at.is_(None)
        )
    ).first()
    return None if row is None else (row.id, row.password)


def password_by_id(connection: Connection, user_id: str) -> str | None:
    """The hashed password of a user, None for one without."""
    found: str | None = connection.scalar(select(users.c.password).where(users.c.id == user_id))
    return found


def user_of_subject(connection: Connection, subject: str) -> str | None:
    """The id of the user with this OpenID subject."""
    found: str | None = connection.scalar(select(users.c.id).where(users.c.subject == subject))
    return found


def free_name(connection: Connection, wish: str) -> str:
    """`wish` if it is a name and free, else something like it."""
    plain = re.sub(r"[^a-z0-9._@+-]+", "-", wish.lower()).lstrip("._@+-")[: NAME_MAX - 8]
    base = plain_name(plain) or "user"
    name, number = base, 1
    while connection.scalar(select(users.c.id).where(users.c.name == name)) is not None:
        number += 1
        name = f"{base}-{number}"
    return name


def set_password(connection: Connection, user_id: str, hashed: str | None) -> None:
    """Replaces a password; None takes it away."""
    connection.execute(update(users).where(users.c.id == user_id).values(password=hashed))


def set_tier(connection: Connection, user_id: str, tier: str) -> None:
    """Moves a user. Raises ProblemError `invalid_request` for an unknown tier."""
    _require_tier(connection, tier)
    connection.execute(update(users).where(users.c.id == user_id).values(tier=tier))


def set_disabled(connection: Connection, user_id: str, disabled: bool, now: float) -> None:
    """Locks a user out, which ends its logins and tokens for good, or lets it in again."""
    since = now if disabled else None
    connection.execute(update(users).where(users.c.id == user_id).values(disabled_at=since))
    if disabled:
        end_everything_of(connection, user_id, now)


def _require_tier(connection: Connection, tier: str) -> None:
    known = plain_name(tier) == tier
    if not known or connection.scalar(select(tiers.c.name).where(tiers.c.name == tier)) is None:
        raise ProblemError("invalid_request", "There is no such tier.", field="tier")
