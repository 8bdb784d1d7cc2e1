"""What a run has found, as it stands in its JSON file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec


class Row(msgspec.Struct, kw_only=True):
    """One measurement: `values` as the load told them, or `error` in one line."""

    round: int
    peer: str
    workload: str
    values: dict[str, Any] = {}
    error: str | None = None


class Results(msgspec.Struct, kw_only=True):
    """One run. `skipped` says why a peer has no rows; `quick` that figures mean little."""

    machine: dict[str, str]
    quick: bool
    titles: dict[str, str]
    versions: dict[str, str]
    skipped: dict[str, str]
    rows: list[Row]

    @property
    def rounds(self) -> int:
        """How many were begun."""
        return max((row.round for row in self.rows), default=0)

    def of(self, peer: str, workload: str) -> list[dict[str, Any]]:
        """The values of each round in which it could be measured."""
        return [
            row.values
            for row in self.rows
            if (row.peer, row.workload) == (peer, workload) and row.error is None
        ]

    def error(self, peer: str, workload: str) -> str | None:
        """Why there is no measurement, where one was tried and failed in every round."""
        rows = [row for row in self.rows if (row.peer, row.workload) == (peer, workload)]
        return rows[0].error if rows and all(row.error for row in rows) else None


def save(results: Results, path: Path) -> None:
    """Writes the file, indented: it is also read by people."""
    path.write_bytes(msgspec.json.format(msgspec.json.encode(results), indent=1))


def load(path: Path) -> Results:
    """Reads it back. Raises OSError or msgspec.DecodeError."""
    return msgspec.json.decode(path.read_bytes(), type=Results)
