"""What was found out of engines, kept over restarts (docs/adr/0005)."""

from __future__ import annotations

from sqlalchemy import Connection, select

from contracts.grants import EngineTarget
from control_plane.continuation import Capability
from control_plane.proofs import Proven
from control_plane.store.engines import insert_into
from control_plane.store.schema import proven_engines

# An engine and model: kind, base URL, name of the model.
Which = tuple[str, str, str]


def which(engine: EngineTarget) -> Which:
    """What a proof is of: an engine by another name is the same."""
    return engine.kind, engine.base_url, engine.model


def all_proven(connection: Connection) -> dict[Which, Proven]:
    """The last proof of each."""
    rows = connection.execute(select(proven_engines))
    return {
        (row.kind, row.base_url, row.model): Proven(
            Capability(row.continues, row.trims), row.identity
        )
        for row in rows
    }


def keep_proven(connection: Connection, engine: EngineTarget, proven: Proven, now: float) -> None:
    """In place of the one before."""
    found = proven.found
    said = {
        "continues": found.continues,
        "trims": found.trims,
        "proven_at": now,
        "identity": proven.identity,
    }
    kind, base_url, model = which(engine)
    row = {"kind": kind, "base_url": base_url, "model": model} | said
    connection.execute(
        insert_into(connection, proven_engines)
        .values(row)
        .on_conflict_do_update(index_elements=["kind", "base_url", "model"], set_=said)
    )
