"""The usage log: one row per settled job, and the sums that quotas are measured by."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection, bindparam, delete, select
from sqlalchemy.dialects.sqlite import insert

from contracts.grants import Settlement
from control_plane.allowance import SPANS, period_of
from control_plane.store.schema import grants, settlements, usage
from control_plane.store.statements import Query, Rows, run_query, settle_statement


class Settled(msgspec.Struct, frozen=True, kw_only=True):
    """A settlement on its way into the log. `granted_at` names the day and month that it
    counts for; `grant_id` is the open grant that it ends, if there is one."""

    settlement: Settlement
    granted_at: float
    grant_id: str | None


def settle(connection: Connection, batch: Sequence[Settled], now: float) -> list[bool]:
    """Writes usage rows, adds to the sums, ends the grants; all or nothing.

    The first settlement of a job counts; later ones change nothing. Returns for each
    whether it was the first.
    """
    if connection.dialect.name == "postgresql":
        return run_query(connection, settling(batch, now))
    ended = [entry.grant_id for entry in batch if entry.grant_id is not None]
    return _firsts(batch, _settle_by_steps(connection, _distinct(batch), ended, now))


def settling(batch: Sequence[Settled], now: float) -> Query[list[bool]]:
    """`settle`, for a server."""
    rows = [
        _row(entry.settlement, now)
        | {
            "used": used_tokens(entry.settlement),
            "periods": [period_of(entry.granted_at, span) for span in SPANS],
        }
        for entry in _distinct(batch).values()
    ]
    ended = [entry.grant_id for entry in batch if entry.grant_id is not None]

    def read(returned: Rows) -> list[bool]:
        return _firsts(batch, {job_id for (job_id,) in returned})

    return Query(settle_statement(), {"rows": rows, "ended": ended}, read)


def _distinct(batch: Sequence[Settled]) -> dict[str, Settled]:
    return {entry.settlement.job_id: entry for entry in reversed(batch)}


def _firsts(batch: Sequence[Settled], jobs: set[str]) -> list[bool]:
    """For each whether it was the first of its job; `jobs` are those that were not there."""
    found: list[bool] = []
    for entry in batch:
        found.append(entry.settlement.job_id in jobs)
        jobs.discard(entry.settlement.job_id)
    return found


def _settle_by_steps(
    connection: Connection, entries: Mapping[str, Settled], ended: Sequence[str], now: float
) -> set[str]:
    rows = [_row(entry.settlement, now) for entry in entries.values()]
    firsts = set(connection.scalars(_LOG, rows))
    _add_up(connection, [entry for job_id, entry in entries.items() if job_id in firsts])
    if ended:
        connection.execute(_END, {"ids": ended})
    return firsts


def _add_up(connection: Connection, fresh: Sequence[Settled]) -> None:
    sums: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0])
    for entry in fresh:
        for span in SPANS:
            added = sums[entry.settlement.user_id, period_of(entry.granted_at, span)]
            added[0] += 1
            added[1] += used_tokens(entry.settlement)
    if not sums:
        return
    rows = [
        {"user_id": user_id, "period": period, "requests": requests, "tokens": tokens}
        for (user_id, period), (requests, tokens) in sums.items()
    ]
    connection.execute(_ADD, rows)


# Made once: to build a statement costs more than to run it.
_END = delete(grants).where(grants.c.id.in_(bindparam("ids", expanding=True)))


_LOG = insert(settlements).on_conflict_do_nothing().returning(settlements.c.job_id)
_INSERT = insert(usage)
_ADD = _INSERT.on_conflict_do_update(
    index_elements=["user_id", "period"],
    set_={
        "requests": usage.c.requests + _INSERT.excluded.requests,
        "tokens": usage.c.tokens + _INSERT.excluded.tokens,
    },
)


def used_tokens(settlement: Settlement) -> int:
    """What counts against a quota: prompt and completion, also what a cache saved."""
    return settlement.usage.prompt_tokens + settlement.usage.completion_tokens


def used_in(
    connection: Connection, periods: Sequence[str], users: Sequence[str] | None = None
) -> list[tuple[str, str, int, int]]:
    """(user, period, requests, tokens) of these users, or of all, in these days and months."""
    columns = (usage.c.user_id, usage.c.period, usage.c.requests, usage.c.tokens)
    wanted = select(*columns).where(usage.c.period.in_(periods))
    if users is not None:
        wanted = wanted.where(usage.c.user_id.in_(users))
    rows = connection.execute(wanted)
    return [(user_id, period, requests, tokens) for user_id, period, requests, tokens in rows]


def _row(settlement: Settlement, now: float) -> dict[str, Any]:
    return {
        "job_id": settlement.job_id,
        "grant_id": settlement.grant_id,
        "user_id": settlement.user_id,
        "session_id": settlement.session_id,
        "model": settlement.model,
        "engine": settlement.engine,
        "node": settlement.node,
        "outcome": settlement.outcome,
        "code": settlement.code,
        "prompt_tokens": settlement.usage.prompt_tokens,
        "completion_tokens": settlement.usage.completion_tokens,
        "cached_tokens": settlement.usage.cached_tokens,
        "estimated": settlement.usage.estimated,
        "created_at": settlement.created_at,
        "first_token_at": settlement.first_token_at,
        "ended_at": settlement.ended_at,
        "settled_at": now,
    }
