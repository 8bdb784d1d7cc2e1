"""The usage log of a time, for bills: sums, or job by job."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import ColumnElement, Connection, and_, case, func, or_, select

from control_plane.store.schema import settlements, users

_COUNTS: Final = ("requests", "prompt_tokens", "completion_tokens", "cached_tokens", "estimated")


class UsageSum(msgspec.Struct, frozen=True, kw_only=True):
    """What a user used of one model. `estimated`: how many of the requests were counted
    without the engine's help."""

    user_id: str
    user: str | None
    model: str
    requests: int
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int
    estimated: int


class SettledJob(msgspec.Struct, frozen=True, kw_only=True):
    """One job. Times are Unix seconds."""

    job_id: str
    user_id: str
    user: str | None
    model: str
    engine: str
    node: str
    outcome: str
    code: str | None
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int
    estimated: bool
    created_at: float
    ended_at: float


def usage_sums(
    connection: Connection, start: float, end: float, user_id: str | None = None
) -> list[UsageSum]:
    """Sums of jobs made from `start` until before `end`, in order of user and model."""
    columns = settlements.c
    # PostgreSQL neither sums truth values nor casts them to numbers of this size.
    estimated = func.sum(case((columns.estimated, 1), else_=0))
    rows = connection.execute(
        select(
            columns.user_id,
            users.c.name.label("user"),
            columns.model,
            func.count().label("requests"),
            func.sum(columns.prompt_tokens).label("prompt_tokens"),
            func.sum(columns.completion_tokens).label("completion_tokens"),
            func.sum(columns.cached_tokens).label("cached_tokens"),
            estimated.label("estimated"),
        )
        .outerjoin(users, users.c.id == columns.user_id)
        .where(_within(start, end, user_id))
        .group_by(columns.user_id, users.c.name, columns.model)
        .order_by(columns.user_id, columns.model)
    )
    # PostgreSQL's sums are decimals.
    return [UsageSum(**_whole(dict(row))) for row in rows.mappings()]


def added(some: Sequence[UsageSum], more: Sequence[UsageSum]) -> list[UsageSum]:
    """Both together, in order of user and model."""
    sums = {(entry.user_id, entry.model): entry for entry in some}
    for entry in more:
        before = sums.get((entry.user_id, entry.model))
        counts = {name: getattr(entry, name) + getattr(before, name, 0) for name in _COUNTS}
        sums[entry.user_id, entry.model] = msgspec.structs.replace(entry, **counts)
    return [sums[key] for key in sorted(sums)]


def usage_jobs(
    connection: Connection,
    start: float,
    end: float,
    user_id: str | None = None,
    after: tuple[float, str] | None = None,
    most: int = 1000,
) -> list[SettledJob]:
    """Jobs of that time in the order in which they were made; `after` is (`created_at`,
    `job_id`) of the last one seen."""
    columns = settlements.c
    wanted = [columns[name] for name in SettledJob.__struct_fields__ if name != "user"]
    where = _within(start, end, user_id)
    if after is not None:
        at, job_id = after
        later = and_(columns.created_at == at, columns.job_id > job_id)
        where = and_(where, or_(columns.created_at > at, later))
    rows = connection.execute(
        select(*wanted, users.c.name.label("user"))
        .outerjoin(users, users.c.id == columns.user_id)
        .where(where)
        .order_by(columns.created_at, columns.job_id)
        .limit(most)
    )
    return [SettledJob(**row) for row in rows.mappings()]


def _within(start: float, end: float, user_id: str | None) -> ColumnElement[bool]:
    within = and_(settlements.c.created_at >= start, settlements.c.created_at < end)
    return within if user_id is None else and_(within, settlements.c.user_id == user_id)


def _whole(row: dict[str, Any]) -> dict[str, Any]:
    return row | {name: int(row[name] or 0) for name in _COUNTS}
