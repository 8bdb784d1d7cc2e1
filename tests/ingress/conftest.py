"""A real HAProxy before tiny real upstreams, on loopback addresses of their own."""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from ingress.edge import Edge
from ingress.haproxy import Limits, render
from inventory.load import LOCAL, load_cluster
from inventory.model import Cluster
from okome.programs import find_program
from tests.ingress.upstream import Upstream
from tests.support.eventually import eventually_async
from tests.support.nets import own_octet

NET = f"127.99.{own_octet()}."


@dataclass
class Ingress:
    """What a test drives: the client's side and the upstreams by server name."""

    cluster: Cluster
    http: httpx.AsyncClient
    brokers: dict[str, Upstream]
    control: Upstream
    verify: ssl.SSLContext

    async def server_of(self, path: str, **headers: str) -> str:
        """Name of the upstream that answers `path`."""
        answer = await self.http.get(path, headers=headers)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["server"])

    async def states(self) -> dict[str, str]:
        """backend/server -> UP, DOWN, ... as HAProxy shows it."""
        node = self.cluster.role("ingress")[0]
        url = f"http://{node.address}:{self.cluster.stats_port}/stats;csv"
        async with httpx.AsyncClient(trust_env=False) as client:
            rows = [line.split(",") for line in (await client.get(url)).text.splitlines()[1:]]
        return {f"{row[0]}/{row[1]}": row[17] for row in rows if len(row) > 17}

    async def wait_state(self, server: str, state: str, within: float = 3.0) -> None:
        """Returns when HAProxy's view of `backend/server` starts with `state`."""

        async def reached() -> bool:
            return (await self.states()).get(server, "").startswith(state)

        await eventually_async(reached, within)


@pytest.fixture
async def ingress(tmp_path: Path) -> AsyncIterator[Ingress]:
    async with serving(tmp_path, LOCAL.read_text(encoding="utf-8")) as running:
        yield running


@asynccontextmanager
async def serving(
    tmp_path: Path, text: str, edge: Edge | None = None, verify: ssl.SSLContext | None = None
) -> AsyncIterator[Ingress]:
    """A HAProxy of the inventory `text` moved to the tests' network; `verify`: how its
    certificate is believed."""
    program = find_program("haproxy", os.environ)
    if program is None:
        pytest.skip("haproxy is not installed")
    inventory = tmp_path / "inventory.yml"
    text = text.replace("127.86.0.", NET)
    inventory.write_text(text.replace("127.0.0.1:8080", f"{NET}1:8081"), encoding="utf-8")
    cluster = load_cluster(inventory)
    config = tmp_path / "haproxy.cfg"
    node = cluster.role("ingress")[0]
    config.write_text(render(cluster, node, Limits(600), edge=edge), encoding="utf-8")
    brokers = {
        f"n{node.number:02d}w0": Upstream(f"n{node.number:02d}w0", node.address, node.port)
        for node in cluster.role("stream")
    }
    (node,) = cluster.role("control")
    control = Upstream("control", node.address, node.port)
    for upstream in (*brokers.values(), control):
        await upstream.start()
    haproxy = await asyncio.create_subprocess_exec(program, "-db", "-q", "-f", str(config))
    try:
        verify = verify or ssl.create_default_context()
        async with httpx.AsyncClient(base_url=cluster.url, trust_env=False, verify=verify) as http:
            await eventually_async(lambda: _answers(http))
            http.cookies.clear()
            yield Ingress(cluster, http, brokers, control, verify)
    finally:
        haproxy.kill()
        await haproxy.wait()
        for upstream in (*brokers.values(), control):
            await upstream.stop()


async def _answers(http: httpx.AsyncClient) -> bool:
    try:
        return (await http.get("/healthz")).status_code == 200
    except httpx.ConnectError:
        return False
