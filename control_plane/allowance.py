"""What a user may use: streams at once, requests and tokens a day and a month. Pure."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final, Literal

import msgspec

Unit = Literal["requests", "tokens"]
Span = Literal["day", "month"]
UNITS: Final[tuple[Unit, ...]] = ("requests", "tokens")
SPANS: Final[tuple[Span, ...]] = ("day", "month")

_DAY_S: Final = 86_400


class Allowance(msgspec.Struct, frozen=True, kw_only=True):
    """Limits of one user or tier; None is unlimited."""

    streams: int | None = None
    requests_day: int | None = None
    tokens_day: int | None = None
    requests_month: int | None = None
    tokens_month: int | None = None

    def limit(self, unit: Unit, span: Span) -> int | None:
        """One of the four quotas."""
        found: int | None = getattr(self, f"{unit}_{span}")
        return found


FIELDS: Final = tuple(field.name for field in msgspec.structs.fields(Allowance))


def merged(tier: Allowance, own: Allowance) -> Allowance:
    """What holds for a user: what is set for it alone, else what its tier has."""
    chosen = {name: getattr(own, name) for name in FIELDS}
    return Allowance(
        **{name: getattr(tier, name) if value is None else value for name, value in chosen.items()}
    )


def period_of(at: float, span: Span) -> str:
    """The name of the UTC day (`2026-11-21`) or month (`2026-11`) of Unix time `at`."""
    return _name(int(at // _DAY_S), span)


@lru_cache(maxsize=256)
def _name(day: int, span: Span) -> str:
    moment = datetime.fromtimestamp(day * _DAY_S, UTC)
    return moment.strftime("%Y-%m-%d" if span == "day" else "%Y-%m")


def ends_at(at: float, span: Span) -> float:
    """When that day or month is over, Unix seconds."""
    moment = datetime.fromtimestamp(at, UTC)
    start = moment.replace(hour=0, minute=0, second=0, microsecond=0)
    if span == "day":
        return (start + timedelta(days=1)).timestamp()
    first = start.replace(day=1)
    return (first + timedelta(days=32)).replace(day=1).timestamp()
