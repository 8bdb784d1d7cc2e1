"""The process itself: starts, serves over real HTTP, ends cleanly, says what keeps it away."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.control_plane.harness import API_KEY, SERVICE_KEY
from tests.support.cluster import free_port
from tests.support.control_process import ControlProcess


@pytest.fixture
def control(tmp_path: Path) -> ControlProcess:
    """All that the process needs, on a port that is free now; its engine is not there."""
    return ControlProcess(tmp_path, free_port())


@pytest.fixture
def process(control: ControlProcess) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(control.command(), stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        while "serving" not in process.stderr.readline():
            assert process.poll() is None
        yield process
        process.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_serves_until_it_is_told_to_end(
    control: ControlProcess, process: subprocess.Popen[str], number: signal.Signals
) -> None:
    # The socket is bound before the line is logged, so a connection waits until it is served.
    with httpx.Client(base_url=control.url, trust_env=False) as client:
        assert client.get("/readyz").json() == {"status": "ready"}
        answer = client.post("/auth/login", json={"api_key": API_KEY})
        assert answer.status_code == 200
        assert "server" not in answer.headers
        process.send_signal(number)
        _, errors = process.communicate(timeout=20)
    assert process.returncode == 0
    for secret in (API_KEY, SERVICE_KEY, answer.json()["token"]):
        assert secret not in errors
    assert "Traceback" not in errors


def failing(arguments: list[str]) -> str:
    done = subprocess.run(
        arguments, capture_output=True, text=True, timeout=20, env=dict(os.environ), check=False
    )
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("control plane: ")
    return line


def test_what_keeps_it_from_starting_is_one_line(tmp_path: Path, control: ControlProcess) -> None:
    assert "no setting" in failing(control.command("--set", "nonsense=1"))
    assert "streams_per_user" in failing(control.command("--set", "streams_per_user=0"))
    (tmp_path / "state").touch()
    assert "control-plane.sqlite3" in failing(control.command())
    control.policy.write_text("version: 1")
    assert "policy.yml:1: `models` is missing" in failing(control.command())
    (tmp_path / "credentials" / "api_key").unlink()
    assert "api_key: missing" in failing(control.command())
    (tmp_path / "inventory.yml").unlink()
    assert "inventory.yml" in failing(control.command())


def test_a_port_in_use_is_one_line(control: ControlProcess) -> None:
    with socket.create_server(("127.0.0.1", control.port)):
        said = failing(control.command())
        assert f"cannot listen on 127.0.0.1 port {control.port}" in said
