"""The usage log: one row per settled job."""

from __future__ import annotations

import sqlite3

import msgspec

from contracts.grants import Settlement
from control_plane.store.leases import free_lease, release


class ModelUsage(msgspec.Struct, frozen=True, kw_only=True):
    """What a user has used of one model since the beginning of the log."""

    model: str
    requests: int
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int


def settle(connection: sqlite3.Connection, settlement: Settlement, now: float) -> bool:
    """Writes the usage row, frees the lease and drops the reservation.

    The first settlement of a job counts; later ones change nothing. Returns whether this
    was the first. `final_text` is not kept.
    """
    written = connection.execute(
        "INSERT INTO settlements VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (job_id) DO NOTHING",
        _row(settlement, now),
    ).rowcount
    free_lease(connection, settlement.lease_id)
    release(connection, settlement.grant_id)
    return bool(written)


def _row(settlement: Settlement, now: float) -> tuple[object, ...]:
    return (
        settlement.job_id,
        settlement.grant_id,
        settlement.user_id,
        settlement.session_id,
        settlement.model,
        settlement.engine,
        settlement.node,
        settlement.outcome,
        settlement.code,
        settlement.usage.prompt_tokens,
        settlement.usage.completion_tokens,
        settlement.usage.cached_tokens,
        settlement.usage.estimated,
        settlement.created_at,
        settlement.first_token_at,
        settlement.ended_at,
        now,
    )


def usage_by_model(connection: sqlite3.Connection, user_id: str) -> list[ModelUsage]:
    """A user's sums per model, in order of model name."""
    rows = connection.execute(
        "SELECT model, count(*), sum(prompt_tokens), sum(completion_tokens), sum(cached_tokens)"
        " FROM settlements WHERE user_id = ? GROUP BY model ORDER BY model",
        (user_id,),
    )
    return [
        ModelUsage(
            model=model,
            requests=requests,
            prompt_tokens=prompt,
            completion_tokens=completion,
            cached_tokens=cached,
        )
        for model, requests, prompt, completion, cached in rows
    ]
