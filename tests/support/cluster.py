"""A real one-machine cluster, driven through the `okome` command as a person would."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from inventory.load import LOCAL
from okome.paths import Paths, locate

ROOT = Path(__file__).parent.parent.parent
STANDINS = ROOT / "tests" / "support" / "standins"


class CommandFailedError(AssertionError):
    """`okome` ended with a status other than 0; the message holds what it said."""


class Cluster:
    """One cluster with an inventory, a state directory and addresses (`net`) of its own.

    `standins` runs stand-ins in place of the planes: enough to test the launcher. `source`
    is the inventory that it follows.
    """

    def __init__(
        self, directory: Path, net: str, *, standins: bool = False, source: Path = LOCAL
    ) -> None:
        self.directory = directory
        self.net = net
        self.local_port = free_port()
        self.inventory = directory / "inventory.yml"
        text = source.read_text(encoding="utf-8").replace("127.86.0.", self.net)
        self.inventory.write_text(
            text.replace("127.0.0.1:8080", f"127.0.0.1:{self.local_port}"), encoding="utf-8"
        )
        self.state_dir = directory / "state of the cluster"
        path = [str(STANDINS)] if standins else []
        self.environment = {
            "PATH": os.environ.get("PATH", os.defpath),
            "PYTHONPATH": os.pathsep.join([*path, str(ROOT)]),
            "OKOME_STATE_DIR": str(self.state_dir),
            "XDG_CACHE_HOME": str(directory / "cache"),
            "XDG_CONFIG_HOME": str(directory / "config"),
        }

    def command(self, *arguments: str) -> list[str]:
        """The command line of `okome ARGUMENTS` for this cluster."""
        first, *rest = arguments
        return [sys.executable, "-m", "okome", first, "--inventory", str(self.inventory), *rest]

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Runs `okome ARGUMENTS` to its end."""
        return subprocess.run(
            self.command(*arguments),
            env=self.environment,
            cwd=self.directory,
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )

    def okome(self, *arguments: str) -> str:
        """What `okome ARGUMENTS` prints. Raises CommandFailedError when it fails."""
        done = self.run(*arguments)
        if done.returncode != 0:
            said = done.stdout + done.stderr
            raise CommandFailedError(f"okome {' '.join(arguments)}: {done.returncode}\n{said}")
        return done.stdout

    def up(self, *arguments: str) -> str:
        """Starts the cluster in the background; returns what was printed, once it is ready."""
        return self.okome("up", "--detach", *arguments)

    def down(self) -> str:
        """Ends the cluster."""
        return self.okome("down")

    def status(self) -> dict[str, Any]:
        """`okome status --json`."""
        status: dict[str, Any] = json.loads(self.okome("status", "--json"))
        return status

    def node(self, name: str) -> dict[str, Any]:
        """The entry of one node in the status."""
        return next(node for node in self.status()["nodes"] if node["name"] == name)

    def stop(self, node: str) -> None:
        """Kills a node and holds it down."""
        self.okome("stop", node)

    def start(self, node: str) -> None:
        """Brings a node back; returns when it is ready."""
        self.okome("start", node)

    def drain(self, node: str) -> None:
        """Drains a broker."""
        self.okome("drain", node)

    @property
    def paths(self) -> Paths:
        """Where its files lie."""
        return locate("", self.environment)

    @property
    def url(self) -> str:
        """Base URL of the API at the VIP."""
        return f"http://{self.net}18:8080"

    @property
    def local_url(self) -> str:
        """Base URL of the ingress at localhost, as browsers use it."""
        return f"http://localhost:{self.local_port}"

    @property
    def enter_url(self) -> str:
        """A fresh link to the chat page that signs the browser in."""
        return self.okome("url").strip()

    @property
    def api_key(self) -> str:
        """The API key of the built-in user."""
        return (self.state_dir / "credentials" / "api_key").read_text(encoding="ascii")

    def broker_url(self, node: str) -> str:
        """Base URL of one broker, past the ingress."""
        return f"http://{self.net}{int(node.rpartition('-')[2]) + 40}:8100"

    def processes(self) -> list[str]:
        """Command lines of all processes that work for this cluster."""
        found = []
        for entry in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                line = entry.read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
            except OSError:
                continue
            if self.net in line or str(self.directory) in line:
                found.append(line)
        return found


@contextmanager
def cluster_before(directory: Path, net: str, url: str, kind: str, model: str) -> Iterator[Cluster]:
    """A running cluster in front of an engine that runs already."""
    cluster = Cluster(directory, net)
    try:
        cluster.up("--engine", url, "--kind", kind, "--model", model)
        yield cluster
    finally:
        cluster.down()


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
