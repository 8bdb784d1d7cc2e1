"""The control plane away under load: what opens, what resumes, what is refused, what returns.

The five minutes of the contract are `degraded_for` here, so that a test can live through
them; everything else is as in service. Each phase is found by what a client sees.
"""

from __future__ import annotations

import asyncio
import os
import signal
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from tests.e2e.conftest import reason_without_engine
from tests.e2e.wire import MODEL, Reader, numbered
from tests.support.cluster import Cluster
from tests.support.eventually import eventually_async
from tests.support.nets import own_octet

pytestmark = pytest.mark.cluster

UNAVAILABLE = "control_plane_unavailable"
CONTROL, BROKER = "okome-control", "okome-node-04"
DEGRADED_FOR = 25


@pytest.fixture(scope="module")
def away(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster of its own, whose brokers go on alone for seconds in place of minutes."""
    if reason := reason_without_engine():
        pytest.skip(reason)
    cluster = Cluster(tmp_path_factory.mktemp("away"), f"127.89.{own_octet()}.")
    settings = {
        "degraded_for": DEGRADED_FOR,
        "policy_poll": 0.5,
        "control_timeout": 1,
        "streams_per_user": 50,
        "lease_ttl": 6,
    }
    try:
        cluster.up(*(f"--set={name}={value}" for name, value in settings.items()))
        yield cluster
    finally:
        cluster.down()


@pytest.fixture
async def http(away: Cluster) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"Authorization": f"Bearer {away.api_key}"}
    async with httpx.AsyncClient(headers=headers, timeout=30, trust_env=False) as client:
        yield client


@dataclass
class Load:
    """Clients that ask for one short answer after the other, and what came of it."""

    http: httpx.AsyncClient
    url: str
    jobs: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    alone: int = 0
    enough: bool = False

    async def client(self) -> None:
        """One of them."""
        while not self.enough:
            job_id = await self.begin(self.url)
            seen = await Reader(self.http, self.url, job_id).read()
            assert numbered(seen)
            assert seen[-1].event == "job_complete"
            self.alone += seen[0].event == "notice"

    async def begin(self, url: str) -> str:
        """Starts a job, asking with one key for as long as that takes."""
        key = {"Idempotency-Key": uuid.uuid4().hex}
        while True:
            job = {"model": MODEL, "prompt": "Hi", "max_tokens": 8}
            try:
                answer = await self.http.post(f"{url}/v1/jobs", json=job, headers=key)
            except httpx.TransportError:
                continue
            if answer.status_code in (200, 202):
                job_id: str = answer.json()["job_id"]
                self.jobs.append(job_id)
                return job_id
            assert "retry-after" in answer.headers or answer.status_code == 502, answer.text
            self.refused.append(answer.json()["code"])
            # A client that comes back, and not at once: load at a pace, no wait for anything.
            await asyncio.sleep(0.05)

    @asynccontextmanager
    async def running(self, clients: int) -> AsyncIterator[None]:
        """So many of them, until the block is left; each ends what it has begun."""
        tasks = [asyncio.create_task(self.client()) for _ in range(clients)]
        try:
            yield
        finally:
            # Not cancelled: a job whose answer nobody awaits would be billed and not known.
            self.enough = True
            async with asyncio.timeout(60):
                await asyncio.gather(*tasks)


async def more(found: list[Any], count: int = 3) -> None:
    """Returns once so many have been added."""
    enough = len(found) + count
    await eventually_async(lambda: len(found) >= enough, within=30)


async def sums(http: httpx.AsyncClient, url: str, jobs: list[str]) -> tuple[int, int]:
    """Jobs that have ended, and their tokens, as their records say it."""
    tokens = 0
    for job_id in jobs:
        record = (await http.get(f"{url}/v1/jobs/{job_id}")).json()
        assert record["status"] == "completed"
        tokens += record["usage"]["prompt_tokens"] + record["usage"]["completion_tokens"]
    return len(jobs), tokens


async def billed(http: httpx.AsyncClient, url: str) -> tuple[int, int]:
    """What the control plane has counted."""
    models = (await http.get(f"{url}/v1/usage")).json()["models"]
    return (
        sum(model["requests"] for model in models),
        sum(model["prompt_tokens"] + model["completion_tokens"] for model in models),
    )


async def restart(cluster: Cluster, node: str) -> None:
    """Kills a broker; returns when it is back."""
    before = (await asyncio.to_thread(cluster.node, node))["pid"]
    os.kill(before, signal.SIGKILL)

    async def back() -> bool:
        entry = await asyncio.to_thread(cluster.node, node)
        return bool(entry["healthy"] and entry["pid"] != before)

    await eventually_async(back, within=20)


async def test_the_control_plane_away_under_load(away: Cluster, http: httpx.AsyncClient) -> None:
    load, near = Load(http, away.url), away.broker_url(BROKER)
    async with load.running(4):
        await more(load.jobs)
        assert load.alone == 0
        await asyncio.to_thread(away.stop, CONTROL)

        # Minutes 0 to 5: everything opens, and says who decided. A broker that restarts now
        # knows the keys and the models from its disk.
        await eventually_async(lambda: load.alone >= 3, within=30)
        await restart(away, BROKER)
        seen = await Reader(http, near, await load.begin(near)).read()
        assert (seen[0].event, seen[0].body["code"]) == ("notice", "degraded_policy")
        replayed = await Reader(http, near, load.jobs[0]).read()
        assert numbered(replayed)

        # After minute 5: no new work, also by a broker that restarts; what there is can
        # still be read.
        await eventually_async(lambda: UNAVAILABLE in load.refused, within=60)
        await restart(away, BROKER)
        job = {"model": MODEL, "prompt": "Hi", "max_tokens": 8}
        late = await http.post(f"{near}/v1/jobs", json=job)
        assert (late.status_code, late.json()["code"]) == (503, UNAVAILABLE)
        assert await Reader(http, near, load.jobs[0]).read() == replayed

        # It is back: work goes on, by its grants again.
        await asyncio.to_thread(away.start, CONTROL)
        await more(load.jobs)
        alone = load.alone
        await more(load.jobs, 8)
        assert load.alone == alone
    assert set(load.refused) <= {UNAVAILABLE, "broker_lost"}

    for job_id in load.jobs:
        await Reader(http, away.url, job_id).read()

    async def settled() -> bool:
        return await billed(http, away.url) == await sums(http, away.url, load.jobs)

    await eventually_async(settled, within=30)
