"""A real control plane in the place where `okome up` would have it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from okome.cli import app
from okome.credentials import ensure_credentials
from tests.support.control_process import BARE_INVENTORY

ROOT = Path(__file__).parent.parent.parent.parent


class Place:
    """The state directory of a cluster that has a control plane only."""

    def __init__(self, state: Path) -> None:
        self.state = state
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = probe.getsockname()[1]
        (state / "inventory.yml").write_text(BARE_INVENTORY.format(port=self.port))
        self.credentials = state / "credentials"
        ensure_credentials(self.credentials)
        self.environment = {"OKOME_STATE_DIR": str(state)}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def serve(self) -> subprocess.Popen[str]:
        """The process, once it listens."""
        command = [sys.executable, "-m", "control_plane"]
        command += ["--inventory", str(self.state / "inventory.yml")]
        command += ["--state", str(self.state / "control")]
        command += ["--credentials", str(self.credentials)]
        process = subprocess.Popen(
            command,
            stderr=subprocess.PIPE,
            text=True,
            env={"PYTHONPATH": str(ROOT), "PATH": os.environ.get("PATH", os.defpath)},
        )
        assert process.stderr is not None
        while "serving" not in process.stderr.readline():
            assert process.poll() is None
        return process

    def okome(self, *arguments: str, given: str | None = None) -> str:
        """What the command prints on standard output; it has succeeded."""
        done = CliRunner().invoke(app, arguments, input=given, env=self.environment)
        if done.exception is not None:
            raise done.exception
        return done.stdout

    def json(self, *arguments: str, given: str | None = None) -> Any:
        """The same with --json."""
        return json.loads(self.okome(*arguments, "--json", given=given))


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """One for all tests; each has users of its own."""
    place = Place(tmp_path_factory.mktemp("place"))
    with place.serve() as process:
        yield place
        process.terminate()
        process.communicate(timeout=20)


Add = Callable[..., dict[str, Any]]


@pytest.fixture
def add(place: Place) -> Add:
    """Makes a user."""

    def added(name: str, *options: str, given: str | None = None) -> dict[str, Any]:
        found: dict[str, Any] = place.json("user", "add", name, *options, given=given)
        return found

    return added
