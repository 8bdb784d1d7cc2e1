"""The audit log: who did, or was refused, what. Never a secret, never a prompt."""

from __future__ import annotations

from typing import Any

import msgspec
from sqlalchemy import Connection, delete, insert, select

from control_plane.store.schema import audit


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One line. `at` in Unix seconds; `actor` is a user's id, `admin`, or `nobody`.

    `subject` names what was done to: a user's id, a key's, a tier. `outcome` is `ok` or the
    code of the refusal.
    """

    at: float
    actor: str
    action: str
    subject: str = ""
    outcome: str = "ok"
    detail: dict[str, Any] = {}


class Kept(Entry, frozen=True, kw_only=True):
    """A line in the log; ids grow."""

    id: int


def note(connection: Connection, *entries: Entry) -> None:
    """Adds lines, in the transaction of what they tell of."""
    if entries:
        connection.execute(insert(audit), [_row(entry) for entry in entries])


def list_audit(
    connection: Connection,
    *,
    before: int | None = None,
    actor: str | None = None,
    action: str | None = None,
    most: int = 100,
) -> list[Kept]:
    """The newest lines first; `before` is the id of the last one seen."""
    wanted = select(audit)
    if before is not None:
        wanted = wanted.where(audit.c.id < before)
    if actor is not None:
        wanted = wanted.where(audit.c.actor == actor)
    if action is not None:
        wanted = wanted.where(audit.c.action == action)
    rows = connection.execute(wanted.order_by(audit.c.id.desc()).limit(most)).mappings()
    return [Kept(**(dict(row) | {"detail": msgspec.json.decode(row["detail"])})) for row in rows]


def prune_audit(connection: Connection, before: float) -> None:
    """Forgets lines from before this time."""
    connection.execute(delete(audit).where(audit.c.at < before))


def _row(entry: Entry) -> dict[str, Any]:
    row = msgspec.structs.asdict(entry)
    return row | {"detail": msgspec.json.encode(entry.detail).decode()}
