"""Open grants in the database."""

from __future__ import annotations

from typing import Any

from msgspec.structs import asdict
from sqlalchemy import Connection

from control_plane.holdings import OpenGrant
from control_plane.store.grants import (
    add_grants,
    drop_grants,
    idle_grants,
    keep_renewals,
    open_grants,
)
from tests.control_plane.harness import NOW


def grant(name: str, lease: str | None = None, **changes: Any) -> OpenGrant:
    fields: dict[str, Any] = {
        "id": name,
        "lease_id": lease or f"lease-{name}",
        "user_id": "u",
        "node": "n03w0",
        "model": "small",
        "tokens": 110,
        "created_at": NOW + 0.125,
        "lease_until": NOW + 30,
        "reserved_until": NOW + 630,
    }
    return OpenGrant(**(fields | changes))


def add(connection: Connection, *grants: OpenGrant) -> None:
    add_grants(connection, [asdict(grant) for grant in grants])


def test_grants_come_back_as_they_went_in(connection: Connection) -> None:
    add(connection, grant("a"), grant("b"))
    assert sorted(open_grants(connection), key=lambda g: g.id) == [grant("a"), grant("b")]


def test_a_grant_is_idle_from_the_end_of_its_lease_on(connection: Connection) -> None:
    add(connection, grant("a"), grant("b", lease_until=NOW + 31))
    assert idle_grants(connection, NOW + 29.9) == []
    assert idle_grants(connection, NOW + 30) == [("a", "lease-a")]
    assert len(idle_grants(connection, NOW + 31)) == 2


def test_renewals_hold_the_slots_of_many(connection: Connection) -> None:
    names = [f"g{number}" for number in range(500)]
    add(connection, *map(grant, names))
    keep_renewals(connection, [*names[1:], "settled"], NOW + 99)
    until = {found.id: found.lease_until for found in open_grants(connection)}
    assert until == dict.fromkeys(names[1:], NOW + 99) | {"g0": NOW + 30}
    drop_grants(connection, [*names[1:], "settled"])
    assert [found.id for found in open_grants(connection)] == ["g0"]


def test_a_lease_that_is_taken_again_gives_its_old_row_up(connection: Connection) -> None:
    add(connection, grant("a", "lost"), grant("other"))
    for tokens in (0, 1):
        add(connection, grant("lost", "lost", tokens=tokens), grant(f"new-{tokens}"))
    kept = {found.id: found.tokens for found in open_grants(connection)}
    assert kept == {"lost": 1, "other": 110, "new-0": 110, "new-1": 110}
