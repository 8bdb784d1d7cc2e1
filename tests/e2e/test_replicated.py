"""The one-machine cluster with a replicated log: what dies of it, and what a person sees."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest
import redis

from inventory.load import LOCAL
from tests.e2e.conftest import reason_without_engine
from tests.e2e.wire import Reader, numbered, start
from tests.support.cluster import Cluster
from tests.support.eventually import eventually
from tests.support.nets import own_octet
from tests.support.redis_server import reason_to_skip

pytestmark = pytest.mark.cluster

RETURN_S = 30.0


@pytest.fixture(scope="module")
def replicated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """The running cluster. A test that stops a node starts it again."""
    if reason := reason_without_engine() or reason_to_skip():
        pytest.skip(reason)
    running = Cluster(
        tmp_path_factory.mktemp("replicated"),
        f"127.89.{own_octet()}.",
        source=LOCAL.with_name("local-replicated.yml"),
    )
    try:
        running.up("--set", "heartbeat=2")
        whole(running)
        yield running
    finally:
        running.down()


@pytest.fixture
async def http(replicated: Cluster) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"Authorization": f"Bearer {replicated.api_key}"}
    async with httpx.AsyncClient(headers=headers, timeout=30, trust_env=False) as client:
        yield client


def whole(cluster: Cluster) -> None:
    """Returns when every process is healthy again, and every home has its slots back."""
    eventually(lambda: all(n["healthy"] for n in cluster.status()["nodes"]), RETURN_S)
    for last in (43, 44, 45, 46):
        with redis.Redis(host=f"{cluster.net}{last}", port=6379) as client:
            eventually(
                lambda client=client: client.execute_command("ROLE")[0] == b"master", RETURN_S
            )  # type: ignore[misc]


async def test_a_killed_primary_costs_its_streams_a_pause(
    replicated: Cluster, http: httpx.AsyncClient
) -> None:
    job_id = await start(http, replicated.url, 300)
    number = int(job_id[1:3])
    other = f"okome-node-{3 + (number - 2) % 4:02}"
    reader = Reader(http, replicated.url, job_id)
    elsewhere = Reader(http, replicated.broker_url(other), job_id)
    await reader.read(until=10)
    await elsewhere.read(until=10)
    (primary,) = (
        node
        for node in replicated.status()["nodes"]
        if (node["role"], node["address"], node["port"])
        == ("redis", f"{replicated.net}{40 + number}", 6379)
    )
    os.kill(primary["pid"], signal.SIGKILL)
    seen = await reader.read()

    assert numbered(seen)
    assert seen[-1].event == "job_complete"
    assert [block.data for block in await elsewhere.read()] == [block.data for block in seen]
    whole(replicated)


async def test_a_node_that_is_lost_takes_no_answer_with_it(
    replicated: Cluster, http: httpx.AsyncClient
) -> None:
    job_id = await start(http, replicated.url, 300)
    node = f"okome-node-{job_id[1:3]}"
    reader = Reader(http, replicated.url, job_id)
    await reader.read(until=10)
    replicated.stop(node)
    try:
        seen = await reader.read()
    finally:
        replicated.start(node)

    assert numbered(seen)
    assert [b.body["code"] for b in seen if b.event == "notice"] == ["relay_moved"]
    assert seen[-1].event == "job_complete"
    whole(replicated)


async def test_while_a_home_has_no_log_new_work_goes_elsewhere(
    replicated: Cluster, http: httpx.AsyncClient
) -> None:
    node = "okome-node-03"
    ready = f"{replicated.broker_url(node)}/readyz"
    # Of the home's three processes none is left, of its neighbour's one is.
    # The primary last, and back first: so nobody else ever has its slots.
    keepers = ["okome-node-04.redis-6380", "okome-node-05.redis-6381", f"{node}.redis-6379"]
    for keeper in keepers:
        replicated.stop(keeper)
    try:
        job = await start(http, replicated.broker_url(node), 3)
        seen = await Reader(http, replicated.broker_url(node), job).read()
        away = await http.get(ready)
        other = await http.get(f"{replicated.broker_url('okome-node-04')}/readyz")
    finally:
        for keeper in reversed(keepers):
            replicated.start(keeper)

    assert (seen[0].event, seen[0].body["code"]) == ("notice", "not_resumable")
    assert seen[-1].event == "job_complete"
    assert (away.status_code, away.json()["code"]) == (503, "log_unavailable")
    assert other.status_code == 200
    eventually(lambda: httpx.get(ready, trust_env=False).status_code == 200, RETURN_S)
    whole(replicated)
