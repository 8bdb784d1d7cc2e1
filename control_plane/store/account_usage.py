"""What one user has used, for that user to see. Reads only (`Database.read`)."""

from __future__ import annotations

import msgspec
from sqlalchemy import Connection, func, select, tuple_

from control_plane.store.schema import settlements, usage


class ModelUsage(msgspec.Struct, frozen=True, kw_only=True):
    """What a user has used of one model."""

    model: str
    requests: int
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int


class DayUsage(msgspec.Struct, frozen=True, kw_only=True):
    """What a user has used on one day (`2026-11-21`, UTC)."""

    day: str
    requests: int
    tokens: int


class UsedJob(msgspec.Struct, frozen=True, kw_only=True):
    """One settled job as its user sees it. Times are Unix seconds."""

    job_id: str
    session_id: str | None
    model: str
    engine: str
    outcome: str
    code: str | None
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int
    estimated: bool
    created_at: float
    first_token_at: float | None
    ended_at: float


def usage_by_model(connection: Connection, user_id: str) -> list[ModelUsage]:
    """A user's sums per model, in order of model name."""
    columns = settlements.c
    rows = connection.execute(
        select(
            columns.model,
            func.count().label("requests"),
            func.sum(columns.prompt_tokens).label("prompt_tokens"),
            func.sum(columns.completion_tokens).label("completion_tokens"),
            func.sum(columns.cached_tokens).label("cached_tokens"),
        )
        .where(columns.user_id == user_id)
        .group_by(columns.model)
        .order_by(columns.model)
    )
    return [
        ModelUsage(
            model=row.model,
            requests=row.requests,
            prompt_tokens=int(row.prompt_tokens),
            completion_tokens=int(row.completion_tokens),
            cached_tokens=int(row.cached_tokens),
        )
        for row in rows
    ]


def usage_by_day(connection: Connection, user_id: str, since: str) -> list[DayUsage]:
    """A user's sums of the days from `since` on, in their order, without empty ones."""
    columns = usage.c
    rows = connection.execute(
        select(columns.period, columns.requests, columns.tokens)
        .where(
            columns.user_id == user_id,
            columns.period >= since,
            func.length(columns.period) == len(since),
        )
        .order_by(columns.period)
    )
    return [DayUsage(day=row.period, requests=row.requests, tokens=row.tokens) for row in rows]


def used_jobs(
    connection: Connection,
    user_id: str,
    begin: float,
    end: float,
    *,
    after: UsedJob | None = None,
    most: int,
) -> list[UsedJob]:
    """A user's jobs that were created from `begin` to before `end` (Unix seconds), oldest
    first: `most` of those behind `after`."""
    columns = settlements.c
    wanted = [columns[name] for name in UsedJob.__struct_fields__]
    query = select(*wanted).where(
        columns.user_id == user_id,
        columns.created_at >= (begin if after is None else after.created_at),
        columns.created_at < end,
    )
    if after is not None:
        place = tuple_(columns.created_at, columns.job_id)
        query = query.where(place > (after.created_at, after.job_id))
    rows = connection.execute(query.order_by(columns.created_at, columns.job_id).limit(most))
    return [UsedJob(**row) for row in rows.mappings()]
