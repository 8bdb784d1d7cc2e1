"""Tables for a terminal, without any colour."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as their widest cell."""
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    return "\n".join(
        "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in [head, *rows]
    )


def status_table(status: dict[str, Any]) -> str:
    """What `okome status` shows."""
    rows = [
        (
            node["process"],
            node["role"],
            f"{node['address']}:{node['port']}",
            str(node["pid"] or "-"),
            node["state"],
            "healthy" if node["healthy"] else node.get("last_end") or node["reason"],
        )
        for node in status["nodes"]
    ]
    lines = [
        table(("NODE", "ROLE", "ADDRESS", "PID", "STATE", "HEALTH"), rows),
        "",
        f"API at {status['url']}, chat page at {status['chat_url']} (`okome url` signs you in)",
        f"durability: {status['durability']}",
        *(f"note: {line}" for line in status["lacking"]),
    ]
    return "\n".join(lines)
