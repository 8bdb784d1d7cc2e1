"""What tiers and users are allowed: read and set."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from sqlalchemy import Connection, Table, select, update

from control_plane.allowance import FIELDS, Allowance
from control_plane.store.engines import insert_into
from control_plane.store.schema import allowances, tiers


def all_tiers(connection: Connection) -> dict[str, Allowance]:
    """What each tier is allowed, in order of name."""
    rows = connection.execute(select(tiers).order_by(tiers.c.name)).mappings()
    return {row["name"]: Allowance(**{name: row[name] for name in FIELDS}) for row in rows}


def own_allowance(connection: Connection, user_id: str) -> Allowance:
    """What is set for a user alone; null is as its tier has it."""
    row = connection.execute(select(allowances).where(allowances.c.user_id == user_id)).mappings()
    found = row.first()
    return Allowance(**{name: found[name] for name in FIELDS}) if found else Allowance()


def make_tiers(connection: Connection, names: Iterable[str]) -> None:
    """Makes those that are not there yet, without limits."""
    for name in names:
        connection.execute(
            insert_into(connection, tiers).values(name=name).on_conflict_do_nothing()
        )


def set_tier_limits(connection: Connection, tier: str, limits: Mapping[str, int | None]) -> None:
    """Changes the limits that are named, of a tier that is made where there is none."""
    _set(connection, tiers, "name", tier, limits)


def set_own_limits(connection: Connection, user_id: str, limits: Mapping[str, int | None]) -> None:
    """Changes the limits that are named, of one user."""
    _set(connection, allowances, "user_id", user_id, limits)


def _set(
    connection: Connection, table: Table, key: str, value: str, limits: Mapping[str, int | None]
) -> None:
    connection.execute(insert_into(connection, table).values({key: value}).on_conflict_do_nothing())
    if limits:
        connection.execute(update(table).where(table.c[key] == value).values(**limits))
