"""The picture of `okome top`: pure text of a given width, with or without colour."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from okome.top.figures import Figures

Mood = Literal["", "warn", "bad", "dim", "head"]
_CODES: dict[Mood, str] = {"warn": "33", "bad": "31;1", "dim": "2", "head": "1"}

# Milliseconds from which a figure is worth a look, and from which people notice.
TTFT_MS = (1000.0, 2000.0)
GAP_MS = (200.0, 500.0)
JITTER_MS = (100.0, 250.0)
LOG_MS = (30.0, 300.0)


@dataclass(frozen=True, slots=True)
class Column:
    """`keep`: those with the lowest go first where the terminal is narrow."""

    head: str
    keep: int
    cell: Callable[[Figures], tuple[str, Mood]]


def picture(rows: Sequence[Figures], title: str, width: int, *, colour: bool) -> str:
    """Title, one line a broker, the sum; no line is longer than `width` characters."""
    columns = _fitting(rows, width)
    table: list[list[tuple[str, Mood]]] = [[(column.head, "head") for column in columns]]
    table += [[column.cell(row) for column in columns] for row in rows]
    widths = [max(len(line[i][0]) for line in table) for i in range(len(columns))]
    lines = [_paint(title[:width], "head", colour), ""]
    lines += [_line(cells, widths, width, colour) for cells in table]
    away = [f"! {_place(row)} {row.reason}" for row in rows if row.reason]
    lines += [_paint(line[:width], "bad", colour) for line in away]
    lines += ["", _paint(summary(rows)[:width], "", colour)]
    return "\n".join(lines)


def summary(rows: Sequence[Figures]) -> str:
    """One sentence over all brokers."""
    there = [row for row in rows if row.reason is None]
    jobs, viewers = (sum(getattr(row, n) or 0 for row in there) for n in ("jobs", "viewers"))
    ended, failed = (sum(getattr(row, n) or 0 for row in there) for n in ("ended", "failed"))
    tokens = sum(row.tokens_per_s or 0.0 for row in there)
    return (
        f"{len(there)} of {len(rows)} brokers, {jobs} jobs, {viewers} viewers, "
        f"{tokens:.0f} tokens/s; {ended} jobs ended, {failed} failed"
    )


def as_json(rows: Sequence[Figures]) -> dict[str, Any]:
    """For scripts. `ok`: every broker answered."""
    return {"ok": all(row.reason is None for row in rows), "brokers": [asdict(row) for row in rows]}


def _place(row: Figures) -> str:
    return row.node if row.worker == 0 else f"{row.node}.w{row.worker}"


def _count(name: str, warn: float = float("inf")) -> Callable[[Figures], tuple[str, Mood]]:
    def cell(row: Figures) -> tuple[str, Mood]:
        value = getattr(row, name)
        if value is None:
            return "–", "dim"
        return f"{value:.0f}", "warn" if value >= warn else ""

    return cell


def _time(name: str, limits: tuple[float, float]) -> Callable[[Figures], tuple[str, Mood]]:
    def cell(row: Figures) -> tuple[str, Mood]:
        value = getattr(row, name)
        if value is None:
            return "–", "dim"
        text = f"{value / 1000:.1f} s" if value >= 10_000 else f"{value:.0f} ms"
        return text, "bad" if value >= limits[1] else "warn" if value >= limits[0] else ""

    return cell


def _name(row: Figures) -> tuple[str, Mood]:
    return _place(row), "bad" if row.reason or row.log_away else ""


def _log(row: Figures) -> tuple[str, Mood]:
    return ("away", "bad") if row.log_away else _time("log_p99", LOG_MS)(row)


COLUMNS = (
    Column("NODE", 100, _name),
    Column("JOBS", 90, _count("jobs")),
    Column("QUEUED", 70, _count("queued", warn=1)),
    Column("VIEWERS", 50, _count("viewers")),
    Column("TOK/S", 40, _count("tokens_per_s")),
    Column("TTFT p50", 30, _time("ttft_p50", TTFT_MS)),
    Column("TTFT p95", 95, _time("ttft_p95", TTFT_MS)),
    Column("GAP p99", 60, _time("gap_p99", GAP_MS)),
    Column("JITTER", 85, _time("jitter", JITTER_MS)),
    Column("LOG p99", 35, _log),
    Column("FAILED", 65, _count("failed", warn=1)),
    Column("SPOOL", 20, _count("spooled", warn=1)),
)


def _fitting(rows: Sequence[Figures], width: int) -> list[Column]:
    columns = list(COLUMNS)
    while len(columns) > 1 and _needed(columns, rows) > width:
        columns.remove(min(columns, key=lambda column: column.keep))
    return columns


def _needed(columns: Sequence[Column], rows: Sequence[Figures]) -> int:
    cells = [max(len(c.head), *(len(c.cell(r)[0]) for r in rows), 0) for c in columns]
    return sum(cells) + 2 * (len(columns) - 1)


def _line(
    cells: Sequence[tuple[str, Mood]], widths: Sequence[int], width: int, colour: bool
) -> str:
    (first, mood), *rest = cells
    parts = [_paint(f"{first[:width]:<{min(widths[0], width)}}", mood, colour)]
    parts += [
        _paint(f"{text:>{wide}}", how, colour)
        for (text, how), wide in zip(rest, widths[1:], strict=True)
    ]
    return "  ".join(parts)


def _paint(text: str, mood: Mood, colour: bool) -> str:
    code = _CODES.get(mood)
    return f"\x1b[{code}m{text}\x1b[0m" if colour and code else text
