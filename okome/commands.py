"""What the short commands do: ask the running supervisor, or read what it has left."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from inventory.load import LOCAL, load_cluster
from okome.control import NotRunningError, ask
from okome.errors import OkomeError
from okome.lock import wait_free
from okome.logfile import Follower, tail
from okome.paths import Paths, locate

# Brokers get 3 s, then everything else its own share.
END_TIMEOUT = 30.0


def paths_of(inventory: Path | None) -> Paths:
    """Where the cluster of this inventory (default: the one-machine one) keeps its files."""
    return locate(load_cluster(inventory or LOCAL).name, os.environ)


def ask_running(inventory: Path | None, question: dict[str, Any]) -> dict[str, Any]:
    """The running supervisor's answer. Raises OkomeError when there is none."""
    return ask(paths_of(inventory), question)


def end(inventory: Path | None) -> str:
    """Ends the cluster and waits until its supervisor has gone. Says what happened."""
    paths = paths_of(inventory)
    try:
        ask(paths, {"op": "down"})
    except NotRunningError:
        if wait_free(paths.lock, 0):
            return "OKOME is not running; nothing to end."
    if not wait_free(paths.lock, END_TIMEOUT):
        raise OkomeError(f"the supervisor is still there after {END_TIMEOUT:g} s; kill it yourself")
    return "OKOME has ended; nothing is running any more."


def show_logs(inventory: Path | None, node: str | None, lines: int, follow: bool) -> None:
    """Prints the end of one log, or of all of them with the process's name before each line."""
    paths = paths_of(inventory)
    names = sorted(path.stem for path in paths.logs.glob("*.log"))
    if node is not None:
        names = [name for name in names if node in (name, name.partition(".")[0])]
    if not names:
        raise OkomeError(f"there is no log of {node or 'anything'} in {paths.logs}")
    width = max(map(len, names))
    prefixes = {name: f"{name:<{width}} | " if len(names) > 1 else "" for name in names}
    followers = {name: Follower(paths.log(name)) for name in names}
    for name in names:
        for line in tail(paths.log(name), lines):
            print(prefixes[name] + line)
    while follow:
        for name in names:
            for line in followers[name].new_lines():
                print(prefixes[name] + line, flush=True)
        time.sleep(0.2)


def print_json(value: object) -> None:
    """One JSON document on standard output."""
    json.dump(value, sys.stdout, indent=2)
    print()
