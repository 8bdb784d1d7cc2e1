"""Open grants as the database has them; the rules are in `control_plane/ledger.py`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, bindparam, delete, insert, select, update

from control_plane.holdings import OpenGrant
from control_plane.store.schema import grants
from control_plane.store.statements import RENEW, Query, Rows, add_grants_statement, run_query

_ADD = insert(grants)
_RENEW = (
    update(grants)
    .where(grants.c.id.in_(bindparam("ids", expanding=True)))
    .values(lease_until=bindparam("until"))
)


def add_grants(connection: Connection, rows: Sequence[dict[str, Any]]) -> None:
    """Keeps grants: the fields of OpenGrant.

    A lease that is taken again may still have a row, of a grant that is over or of an
    attempt that was thought to have failed: that gives way.
    """
    again = [row["lease_id"] for row in rows if row["lease_id"] == row["id"]]
    if again:
        connection.execute(delete(grants).where(grants.c.lease_id.in_(again)))
    if connection.dialect.name == "postgresql":
        run_query(connection, adding(rows))
    else:
        connection.execute(_ADD, rows)


def adding(rows: Sequence[dict[str, Any]]) -> Query[None]:
    """`add_grants` of grants that are not leases taken again, for a server."""
    return Query(add_grants_statement(), {"rows": rows}, _nothing)


def renewing(ids: Sequence[str], until: float) -> Query[None]:
    """`keep_renewals`, for a server."""
    return Query(RENEW, {"ids": ids, "until": [until]}, _nothing)


def keep_renewals(connection: Connection, ids: Sequence[str], until: float) -> None:
    """Grants hold their slots until then; at most some thousand. One statement, which may be
    done twice."""
    if connection.dialect.name == "postgresql":
        run_query(connection, renewing(ids, until))
    else:
        connection.execute(_RENEW, {"ids": ids, "until": until})


def drop_grants(connection: Connection, ids: Sequence[str]) -> None:
    """Forgets grants that nobody will settle any more; at most some thousand."""
    connection.execute(delete(grants).where(grants.c.id.in_(ids)))


def idle_grants(connection: Connection, now: float) -> list[tuple[str, str]]:
    """Grant and lease id of the grants whose slots were not renewed in time."""
    rows = connection.execute(
        select(grants.c.id, grants.c.lease_id).where(grants.c.lease_until <= now)
    )
    return [(grant_id, lease_id) for grant_id, lease_id in rows]


def open_grants(connection: Connection) -> list[OpenGrant]:
    """Every grant that is not settled."""
    return [OpenGrant(**row) for row in connection.execute(select(grants)).mappings()]


def _nothing(_: Rows) -> None:
    """What these return says nothing."""
