"""What the admin commands print."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from okome.commands import print_json
from okome.table import table


def show(answer: object, lines: str, as_json: bool) -> None:
    """The answer as it is for scripts, else `lines` for a person."""
    if as_json:
        print_json(answer)
    else:
        print(lines)


def rows(entries: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> str:
    """A table with these fields of the entries."""
    head = [column.replace("_", " ").upper() for column in columns]
    return table(head, [[cell(entry[name], name) for name in columns] for entry in entries])


def cell(value: object, name: str = "") -> str:
    """One value for a person: times as UTC, nothing as a dash."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if (name == "at" or name.endswith("_at")) and isinstance(value, int | float):
        return datetime.fromtimestamp(value, UTC).isoformat(sep=" ", timespec="seconds")[:19]
    if isinstance(value, list):
        return " ".join(map(str, value))
    if isinstance(value, dict):
        return " ".join(f"{key}={cell(of)}" for key, of in value.items()) or "-"
    return str(value)


def csv_text(entries: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> str:
    """RFC 4180, with a head; nothing as an empty field."""
    out = io.StringIO()
    writer = csv.DictWriter(out, columns, extrasaction="ignore", lineterminator="\r\n")
    writer.writeheader()
    writer.writerows(entries)
    return out.getvalue()


def remark(line: str) -> None:
    """Something for the person, out of the way of what a script reads."""
    print(line, file=sys.stderr)
