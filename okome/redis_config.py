"""Configuration of the log's Redis on one machine, as pure text."""

from __future__ import annotations

from pathlib import Path

from inventory.model import Node

# Logs live 15 minutes after their end and are at most 1 MiB each.
MAX_MEMORY = "512mb"


def render(node: Node, directory: Path) -> str:
    """A redis.conf that keeps everything it acknowledged over a kill of the process.

    `noeviction`: a full Redis refuses a write and the stream waits; evicting would drop
    parts of somebody's answer. No RDB snapshots: the append-only file is the only truth.
    """
    return f"""\
bind {node.address}
port {node.port}
protected-mode yes
daemonize no
supervised no
logfile ""
loglevel notice
dir {_quote(str(directory))}
appendonly yes
appendfsync everysec
save ""
maxmemory {MAX_MEMORY}
maxmemory-policy noeviction
tcp-keepalive 60
timeout 0
"""


def _quote(text: str) -> str:
    # Redis splits configuration lines like a shell: quotes and backslashes are escaped.
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
