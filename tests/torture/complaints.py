"""What the cluster's processes logged as faults of their own: nobody may have noticed them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def complaints(logs: Path) -> Iterator[str]:
    """Each line of level error or above in `*.log*`: who, what, and how its trace ends."""
    for file in sorted(logs.glob("*.log*")):
        for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
            if (entry := _entry(line)) and entry["level"] in ("error", "critical"):
                trace = str(entry.get("exception", "")).strip().rpartition("\n")[2]
                said = f"{entry['message']} {trace}".strip()
                yield f"{file.name}: {entry['time']} {entry['logger']}: {said}"


def _entry(line: str) -> dict[str, Any] | None:
    """A line of our own; None for what others say (Redis, HAProxy)."""
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    ours = isinstance(entry, dict) and {"time", "level", "logger", "message"} <= entry.keys()
    return entry if ours else None
