"""Targets that send too much, hang or are dead, before a real Prometheus: they are not taken,
and others are."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from inventory.load import LOCAL, load_cluster
from inventory.model import Cluster, Node
from observability.scraping import Retention, Scraping, arguments, render
from okome.programs import find_program
from tests.support.eventually import eventually_async
from tests.support.nets import own_octet

NET = f"127.84.{own_octet()}."
# As brokers would look in which a client's words had become labels.
BODIES: dict[int, Callable[[], str]] = {
    43: lambda: "okome_broker_jobs_running 1\n",
    44: lambda: "".join(f'x{{model="{i}"}} 1\n' for i in range(5001)),
    45: lambda: f'x{{model="{"a" * 600}"}} 1\n',
    46: lambda: f"# HELP x {'a' * (9 << 20)}\nx 1\n",
}

# Takes connections and says nothing; at the control plane's address nobody is.
HANGING = 41, 8404
REASONS = {
    "okome-node-01": "context deadline exceeded",
    "okome-control": "connection refused",
    "okome-node-03": "",
    "okome-node-04": "sample limit exceeded",
    "okome-node-05": "label_value_length_limit",
    "okome-node-06": "body size limit exceeded",
}


def moved(node: Node) -> Node:
    return replace(node, address=NET + node.address.rpartition(".")[2])


@pytest.fixture
def cluster() -> Cluster:
    cluster = load_cluster(LOCAL)
    return replace(cluster, nodes=tuple(moved(node) for node in cluster.nodes))


@pytest.fixture
async def targets() -> AsyncIterator[None]:
    async with AsyncExitStack() as stack:
        for number, body in BODIES.items():
            server = await asyncio.start_server(answering(body()), f"{NET}{number}", 8100)
            await stack.enter_async_context(server)
        number, port = HANGING
        server = await asyncio.start_server(silent, f"{NET}{number}", port)
        await stack.enter_async_context(server)
        yield


def answering(body: str) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], object]:
    head = f"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {len(body)}\r\n\r\n"

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await reader.readline() not in (b"\r\n", b""):
                continue
            writer.write((head + body).encode())
            await writer.drain()
        except ConnectionError:
            pass  # Prometheus has heard enough
        finally:
            writer.close()

    return answer


async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Until the other side has enough."""
    try:
        while await reader.read(1 << 16):
            continue
    except ConnectionError:
        pass
    finally:
        writer.close()


@pytest.mark.usefixtures("targets")
async def test_who_sends_too_much_is_not_taken_and_the_others_are(
    cluster: Cluster, tmp_path: Path
) -> None:
    if (program := find_program("prometheus", os.environ)) is None:
        pytest.skip("prometheus is not installed")
    node = cluster.node("okome-node-09")
    config, listen = tmp_path / "prometheus.yml", f"{node.address}:{node.port}"
    scraping = Scraping(rules=tmp_path / "*.rules", interval_s=3)
    config.write_text(render(cluster, node, scraping), encoding="utf-8")
    flags = arguments(config, tmp_path / "data", listen, Retention(1, 64))

    async def reasons() -> dict[str, str]:
        """Of the targets that were asked: what is wrong with each."""
        try:
            answer = await http.get(f"http://{listen}/api/v1/targets")
        except httpx.TransportError:
            return {}
        found = answer.json()["data"]["activeTargets"] if answer.status_code == 200 else []
        return {
            target["labels"]["node"]: target["lastError"]
            for target in found
            if target["labels"]["node"] in REASONS and target["health"] != "unknown"
        }

    async def as_they_should() -> bool:
        told = await reasons()
        return set(told) == set(REASONS) and all(
            told[name] == reason or (reason and reason in told[name])
            for name, reason in REASONS.items()
        )

    process = await asyncio.create_subprocess_exec(program, *flags, stderr=subprocess.DEVNULL)
    try:
        async with httpx.AsyncClient(trust_env=False) as http:
            await eventually_async(as_they_should, 30)
    finally:
        process.terminate()
        await process.wait()
