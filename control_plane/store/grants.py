"""Open grants as the database has them; the rules are in `control_plane/ledger.py`."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from sqlalchemy import Connection, bindparam, delete, insert, select, update

from control_plane.ledger import OpenGrant
from control_plane.store.schema import grants


def add_grants(connection: Connection, fresh: Sequence[OpenGrant]) -> None:
    """Keeps grants, all in one statement."""
    connection.execute(insert(grants), [msgspec.structs.asdict(grant) for grant in fresh])


def keep_renewals(connection: Connection, until: Sequence[tuple[str, float]]) -> None:
    """Grant ids, and until when their slots are held now."""
    statement = update(grants).where(grants.c.id == bindparam("grant_id"))
    connection.execute(
        statement.values(lease_until=bindparam("until")),
        [{"grant_id": grant_id, "until": moment} for grant_id, moment in until],
    )


def drop_grants(connection: Connection, ids: Sequence[str]) -> None:
    """Forgets grants that are settled, or that nobody will settle any more."""
    connection.execute(delete(grants).where(grants.c.id.in_(ids)))


def open_grants(connection: Connection) -> list[OpenGrant]:
    """Every grant that is not settled."""
    return [OpenGrant(**row) for row in connection.execute(select(grants)).mappings()]
