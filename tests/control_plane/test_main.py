"""The process itself: starts, serves over real HTTP, ends cleanly, says what keeps it away."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.control_plane.harness import API_KEY, DATA_KEY_TEXT, SERVICE_KEY, SESSION_KEY

INVENTORY = """
all:
  vars:
    okome_cluster: test
    okome_vip: 127.0.0.1
    okome_ingress_port: 8080
    okome_stats_port: 8404
    okome_broker_port: 8100
    okome_control_port: {port}
    okome_redis_port: 6379
    okome_durability: none
  children:
    stream:
      hosts: {{n3: {{ansible_host: 127.0.0.3, okome_number: 3, okome_log_tags: [n03w0]}}}}
    control:
      hosts: {{control: {{ansible_host: 127.0.0.1, okome_number: 25}}}}
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A directory with all that the process needs, on a port that is free now."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    (tmp_path / "inventory.yml").write_text(INVENTORY.format(port=port))
    (tmp_path / "port").write_text(str(port))
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    (credentials / "service_key").write_text(SERVICE_KEY)
    (credentials / "api_key").write_text(API_KEY)
    pem = SESSION_KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (credentials / "session_key").write_bytes(pem)
    (credentials / "data_key").write_text(DATA_KEY_TEXT)
    return tmp_path


def command(place: Path, *more: str) -> list[str]:
    directories = ["--state", str(place / "state"), "--credentials", str(place / "credentials")]
    inventory = ["--inventory", str(place / "inventory.yml")]
    return [sys.executable, "-m", "control_plane", *inventory, *directories, *more]


@pytest.fixture
def process(place: Path) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(command(place), stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        while "serving" not in process.stderr.readline():
            assert process.poll() is None
        yield process
        process.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_serves_until_it_is_told_to_end(
    place: Path, process: subprocess.Popen[str], number: signal.Signals
) -> None:
    port = (place / "port").read_text()
    # The socket is bound before the line is logged, so a connection waits until it is served.
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
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


def test_what_keeps_it_from_starting_is_one_line(place: Path) -> None:
    assert "no setting" in failing(command(place, "--set", "nonsense=1"))
    assert "streams_per_user" in failing(command(place, "--set", "streams_per_user=0"))
    (place / "state").touch()
    assert "control-plane.sqlite3" in failing(command(place))
    (place / "policy.yml").write_text("version: 1")
    policy = ["--policy", str(place / "policy.yml")]
    assert "policy.yml:1: `models` is missing" in failing(command(place, *policy))
    (place / "credentials" / "api_key").unlink()
    assert "api_key: missing" in failing(command(place))
    (place / "inventory.yml").unlink()
    assert "inventory.yml" in failing(command(place))


def test_a_port_in_use_is_one_line(place: Path) -> None:
    port = int((place / "port").read_text())
    with socket.create_server(("127.0.0.1", port)):
        assert f"cannot listen on 127.0.0.1 port {port}" in failing(command(place))
