"""The command beside real servers: one that answers, one that hangs, one that is not there."""

from __future__ import annotations

import asyncio
import os
import pty
import re
import subprocess
import sys
from dataclasses import replace

import pytest

from inventory.load import LOCAL, load_cluster
from inventory.model import Cluster
from okome.top import run as top
from tests.support.cluster import ROOT
from tests.support.nets import own_octet

# Its own process: `q` is typed on a terminal, and the terminal is to be as it was.
ON_A_TERMINAL = "from okome.cli import main; main()"


@pytest.fixture
def three() -> Cluster:
    """Three brokers at an address of this test run's own."""
    cluster = load_cluster(LOCAL)
    nodes = [
        replace(node, address=f"127.84.{own_octet()}.{node.number}", port=8100)
        for node in cluster.role("stream")[:3]
    ]
    return replace(cluster, nodes=tuple(nodes))


async def test_who_does_not_answer_is_told_and_the_others_shown(
    three: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(top, "TIMEOUT", 0.5)
    asked = 0

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        asked += 1
        body = f'okome_broker_viewers {asked}\nokome_broker_jobs_total{{event="x"}} {asked}\n'
        head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        writer.write((head + body).encode())
        await writer.drain()
        writer.close()

    released = asyncio.Event()

    async def hang(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await released.wait()
        writer.close()

    good, mute, _ = three.nodes
    async with (
        await asyncio.start_server(answer, good.address, good.port),
        await asyncio.start_server(hang, mute.address, mute.port),
    ):
        rows = await top.once(three, 0.05)
        released.set()

    assert (rows[0].viewers, rows[0].ended, rows[0].reason) == (2, 1, None)
    assert rows[1].reason == "did not answer within 0.5 s"
    assert rows[2].reason is not None
    assert "ConnectError" in rows[2].reason


def test_q_ends_it_and_the_terminal_is_given_back() -> None:
    master, slave = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", ON_A_TERMINAL, "top", "--interval", "1"],
        env={"PYTHONPATH": str(ROOT), "PATH": os.defpath, "TERM": "xterm", "HOME": "/nonexistent"},
        stdin=slave,
        stdout=slave,
        stderr=slave,
    ) as process:
        os.close(slave)
        shown = _until(master, rb"0 of 4 brokers")
        os.write(master, b"q")
        shown += _until(master, rb"\x1b\[\?1049l")
        assert process.wait(timeout=30) == 0
    os.close(master)
    assert re.search(rb"\x1b\[\?1049h", shown)


def _until(descriptor: int, pattern: bytes) -> bytes:
    shown = b""
    while not re.search(pattern, shown):
        shown += os.read(descriptor, 65536)
    return shown
