"""What every peer says of itself, and what it is given to start with."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from bench.processes import HARNESS_CORE, PROXY_CORE, Processes
from bench.spec import Target

PROXY = ("127.90.0.41", 8080)
ENGINE = ("127.90.0.30", 8000)


@dataclass(frozen=True, slots=True)
class Ground:
    """Where one measurement takes place: its processes, its files, the peers' programs."""

    processes: Processes
    work: Path
    cache: Path
    measured: dict[str, int] = field(default_factory=dict)
    beside: dict[str, int] = field(default_factory=dict)

    def proxy(self, name: str, *argv: str, **environment: str) -> None:
        """Starts a program whose CPU time and memory count."""
        self.measured[name] = self.processes.start(name, argv, PROXY_CORE, environment)

    def aside(self, name: str, *argv: str, **environment: str) -> None:
        """Starts a program that is on another machine in service: its CPU time is told, and
        counts for nothing."""
        self.beside[name] = self.processes.start(name, argv, HARNESS_CORE, environment)

    def write(self, name: str, text: str) -> str:
        """A file for the peer to read; its path."""
        path = self.work / name
        path.write_text(text, encoding="utf-8")
        return str(path)


# What has no log takes a flood as fast as the load does: its streams had not ended after
# 290 s, and vllm-router had grown to 23 GiB when the kernel killed it.
NO_FLOOD = frozenset({"flood"})


@dataclass(frozen=True, slots=True)
class Peer:
    """One row. `missing` says in a line why it cannot be run (None: it can); `skips` names
    workloads that say nothing of it."""

    name: str
    title: str
    start: Callable[[Ground], Target]
    version: Callable[[Path], str]
    missing: Callable[[Path], str | None] = lambda _: None
    skips: frozenset[str] = frozenset()


def engine_url() -> str:
    """The synthetic engine's base URL."""
    return "http://{}:{}".format(*ENGINE)


def first_line(*argv: str) -> str:
    """The first line of what a program says of its version, on whichever stream."""
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)
    return (done.stdout + done.stderr).strip().splitlines()[0]
