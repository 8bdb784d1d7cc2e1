"""Writes `observability/dashboards/*.json`; `--check` only says whether they are current."""

from __future__ import annotations

import sys
from pathlib import Path

from observability.boards.all import boards
from observability.boards.grafana import dashboard

PLACE = Path(__file__).parent.parent / "dashboards"


def main(arguments: list[str]) -> int:
    """Returns 1 where a file is out of date, and `--check` was given."""
    wanted = {f"{board.uid}.json": dashboard(board) for board in boards()}
    if arguments == ["--check"]:
        found = {path.name: path.read_text(encoding="utf-8") for path in PLACE.glob("*.json")}
        return int(found != wanted)
    for path in PLACE.glob("*.json"):
        if path.name not in wanted:
            path.unlink()
    for name, content in wanted.items():
        (PLACE / name).write_text(content, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
