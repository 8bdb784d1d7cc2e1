"""Which machine and which versions a run was made with: nothing that names the machine."""

from __future__ import annotations

import os
import platform
import resource
from datetime import UTC, datetime
from pathlib import Path

from bench.peers.base import Peer

_FILES = 65_536


def describe() -> dict[str, str]:
    """Processor, memory, kernel, Python, and how busy the machine was before the run."""
    return {
        "when": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "processor": f"{os.cpu_count()} x {_field('/proc/cpuinfo', 'model name')}",
        "memory": f"{int(_field('/proc/meminfo', 'MemTotal').split()[0]) / 2**20:.0f} GiB",
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load": f"{os.getloadavg()[0]:.2f}",
    }


def versions(peers: list[Peer], cache: Path) -> dict[str, str]:
    """What each peer says that it is."""
    return {peer.name: peer.version(cache) for peer in peers}


def raise_limits() -> int:
    """Lets this process and its children open many files; returns how many."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    unlimited = most == resource.RLIM_INFINITY
    allowed = _FILES if unlimited else min(_FILES, most)
    resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, most))
    return allowed


def _field(path: str, name: str) -> str:
    for line in Path(path).read_text(encoding="utf-8").splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return "unknown"
