"""A month of usage as JSON or CSV, piece by piece. Pure."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final, Literal, Protocol

import msgspec

from contracts.problems import ProblemError
from control_plane.allowance import ends_at
from control_plane.store.account_usage import UsedJob

Format = Literal["json", "csv"]
FORMATS: Final[tuple[Format, ...]] = ("json", "csv")

_MONTH: Final = re.compile(r"(19[7-9]\d|[2-8]\d{3})-(0[1-9]|1[0-2])", re.ASCII)
# A spreadsheet takes a cell that begins like this for a formula.
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
_NAMES: Final = UsedJob.__struct_fields__
_TIMES: Final = frozenset({"created_at", "first_token_at", "ended_at"})


def month_bounds(month: str) -> tuple[float, float]:
    """Begin and end, Unix seconds, of a month like `2026-11`, UTC.

    Raises ProblemError `invalid_request`.
    """
    found = _MONTH.fullmatch(month)
    if found is None:
        raise ProblemError("invalid_request", "month must be like 2026-11.", field="month")
    begin = datetime(int(found[1]), int(found[2]), 1, tzinfo=UTC).timestamp()
    return begin, ends_at(begin, "month")


def format_of(name: str) -> Format:
    """Raises ProblemError `invalid_request`."""
    for known in FORMATS:
        if name == known:
            return known
    raise ProblemError("invalid_request", "format must be json or csv.", field="format")


class Export(Protocol):
    """Makes one document of pages of jobs: `head`, `page` for each, `tail`."""

    media_type: str

    def head(self) -> bytes:
        """What comes first."""
        ...

    def page(self, jobs: Sequence[UsedJob]) -> bytes:
        """Some jobs more."""
        ...

    def tail(self) -> bytes:
        """The end, without which the document is not whole."""
        ...


def export_as(name: Format, user_id: str, month: str) -> Export:
    """A fresh one."""
    return _Csv() if name == "csv" else _Json(user_id, month)


class _Json:
    """`{user_id, month, jobs: [...]}`."""

    media_type = "application/json"

    def __init__(self, user_id: str, month: str) -> None:
        self._begin = msgspec.json.encode({"user_id": user_id, "month": month})
        self._between = b""

    def head(self) -> bytes:
        return self._begin[:-1] + b',"jobs":['

    def page(self, jobs: Sequence[UsedJob]) -> bytes:
        if not jobs:
            return b""
        between, self._between = self._between, b","
        return between + msgspec.json.encode(jobs)[1:-1]

    def tail(self) -> bytes:
        return b"]}"


class _Csv:
    """RFC 4180 with a line of names. Times are of ISO 8601, in UTC."""

    media_type = "text/csv"

    def head(self) -> bytes:
        return _lines([_NAMES])

    def page(self, jobs: Sequence[UsedJob]) -> bytes:
        return _lines([[_cell(name, getattr(job, name)) for name in _NAMES] for job in jobs])

    def tail(self) -> bytes:
        return b""


def _lines(rows: Sequence[Sequence[object]]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    return text.getvalue().encode()


def _cell(name: str, value: object) -> object:
    if value is None:
        return ""
    if name in _TIMES and isinstance(value, float | int):
        return datetime.fromtimestamp(value, UTC).isoformat(timespec="milliseconds")
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str) and value.startswith(_FORMULA):
        return f"'{value}"
    return value
