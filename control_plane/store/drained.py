"""Engines that an operator has taken out, by name: they stay out over restarts."""

from __future__ import annotations

from sqlalchemy import Connection, delete, select

from control_plane.store.engines import insert_into
from control_plane.store.schema import drained_engines


def all_drained(connection: Connection) -> dict[str, float]:
    """Each and since when, Unix seconds."""
    rows = connection.execute(select(drained_engines))
    return {row.name: row.drained_at for row in rows}


def drain(connection: Connection, name: str, now: float) -> None:
    """It gets no new job. Idempotent."""
    row = {"name": name, "drained_at": now}
    connection.execute(
        insert_into(connection, drained_engines).values(row).on_conflict_do_nothing()
    )


def resume(connection: Connection, name: str) -> None:
    """It gets jobs again. Idempotent."""
    connection.execute(delete(drained_engines).where(drained_engines.c.name == name))
