"""Who has a port: the owner is named by address, not by port alone."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from okome.ports import taken
from tests.support.nets import own_octet

NET = f"127.94.{own_octet()}."


@pytest.fixture
def listener() -> Iterator[subprocess.Popen[str]]:
    """Another process that listens on the same port at another address."""
    code = (
        "import socket, sys\n"
        "with socket.socket() as s:\n"
        f"    s.bind(('{NET}2', 8000)); s.listen(); print('here', flush=True); sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process
        process.kill()


def test_the_owner_of_the_very_address_is_named(listener: subprocess.Popen[str]) -> None:
    with socket.socket() as own:
        own.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        own.bind((f"{NET}1", 8000))
        own.listen()

        first, second = taken([f"{NET}1:8000", f"{NET}3:8000", f"{NET}2:8000"])

    assert first.endswith(f"(pid {os.getpid()}); stop it and try again")
    assert second.endswith(f"(pid {listener.pid}); stop it and try again")


def test_a_listener_on_all_addresses_is_found() -> None:
    with socket.socket() as own:
        own.bind(("0.0.0.0", 0))  # noqa: S104  # what is tested
        own.listen()
        port = own.getsockname()[1]

        (line,) = taken([f"{NET}1:{port}"])

    assert f"(pid {os.getpid()})" in line


def test_an_address_that_is_not_ours_is_told() -> None:
    (line,) = taken(["192.0.2.1:8000"])
    assert line == "192.0.2.1:8000 cannot be listened on: Cannot assign requested address"
