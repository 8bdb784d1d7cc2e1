"""What a person sees when something dies, on one machine with the real engine."""

from __future__ import annotations

import os
import signal

import httpx
import pytest

from tests.e2e.wire import MODEL, STORY, Reader, blocks, numbered, start
from tests.support.cluster import Cluster
from tests.support.eventually import eventually

pytestmark = pytest.mark.cluster


def kill(cluster: Cluster, node: str) -> None:
    os.kill(cluster.node(node)["pid"], signal.SIGKILL)


async def whole(cluster: Cluster) -> None:
    """Returns when every process is healthy again."""
    eventually(lambda: all(n["healthy"] for n in cluster.status()["nodes"]), within=20)
    control = f"http://{cluster.net}25:8000/readyz?engines=up"
    eventually(lambda: httpx.get(control, trust_env=False).status_code == 200, within=20)


async def test_the_control_plane_killed_changes_nothing_in_a_stream(
    cluster: Cluster, http: httpx.AsyncClient
) -> None:
    job_id = await start(http, cluster.url, 120)
    reader = Reader(http, cluster.url, job_id)
    await reader.read(until=5)
    kill(cluster, "okome-control")
    seen = await reader.read()

    assert numbered(seen)
    assert seen[-1].event == "job_complete"
    assert seen[-1].body["usage"]["completion_tokens"] == len(seen) - 1
    await whole(cluster)


async def test_a_new_job_starts_while_the_control_plane_is_away(
    cluster: Cluster, http: httpx.AsyncClient
) -> None:
    cluster.stop("okome-control")
    try:
        job_id = await start(http, cluster.url, 4)
        seen = await Reader(http, cluster.url, job_id).read()
        account = await http.get(f"{cluster.url}/v1/usage")
    finally:
        cluster.start("okome-control")

    assert (seen[0].event, seen[0].body["code"]) == ("notice", "degraded_policy")
    assert seen[-1].event == "job_complete"
    assert (account.status_code, account.json()["code"]) == (503, "control_plane_unavailable")
    await whole(cluster)


async def test_a_killed_broker_s_job_is_continued_by_another(
    cluster: Cluster, http: httpx.AsyncClient
) -> None:
    job_id = await start(http, cluster.url, 200)
    reader = Reader(http, cluster.url, job_id)
    await reader.read(until=10)
    kill(cluster, f"okome-node-{job_id[1:3]}")
    seen = await reader.read()

    assert numbered(seen)
    assert [b.body["code"] for b in seen if b.event == "notice"] == ["relay_moved"]
    assert seen[-1].event == "job_complete"
    assert seen[-1].body["usage"]["completion_tokens"] <= 200
    await whole(cluster)


async def test_a_frozen_broker_that_wakes_again_says_nothing_of_its_own(
    cluster: Cluster, http: httpx.AsyncClient
) -> None:
    job_id = await start(http, cluster.url, 200)
    home = f"okome-node-{job_id[1:3]}"
    other = next(f"okome-node-0{n}" for n in (3, 4, 5, 6) if f"okome-node-0{n}" != home)
    pid = cluster.node(home)["pid"]
    near = Reader(http, cluster.broker_url(home), job_id)
    far = Reader(http, cluster.broker_url(other), job_id)
    await near.read(until=10)
    os.kill(pid, signal.SIGSTOP)
    try:
        elsewhere = await far.read()
    finally:
        os.kill(pid, signal.SIGCONT)
    seen = await near.read()

    assert numbered(elsewhere)
    assert [b.body["code"] for b in elsewhere if b.event == "notice"] == ["relay_moved"]
    assert elsewhere[-1].event == "job_complete"
    assert [(b.id, b.data) for b in seen] == [(b.id, b.data) for b in elsewhere]
    await whole(cluster)


async def test_a_killed_log_store_loses_nothing(cluster: Cluster, http: httpx.AsyncClient) -> None:
    job_id = await start(http, cluster.url, 150)
    reader = Reader(http, cluster.url, job_id)
    await reader.read(until=10)
    kill(cluster, "okome-redis")
    seen = await reader.read()

    assert numbered(seen)
    assert seen[-1].event == "job_complete"
    await whole(cluster)


async def test_a_killed_engine_is_told_as_an_error(
    cluster: Cluster, http: httpx.AsyncClient
) -> None:
    job_id = await start(http, cluster.url, 900)
    reader = Reader(http, cluster.url, job_id)
    await reader.read(until=5)
    kill(cluster, "okome-core-gpu")
    seen = await reader.read()

    assert numbered(seen)
    assert (seen[-1].event, seen[-1].body["code"]) == ("job_error", "engine_truncated")
    assert seen[-1].body["retryable"] is True
    await whole(cluster)


async def test_a_killed_engine_never_ends_an_openai_stream_cleanly(
    cluster: Cluster, http: httpx.AsyncClient
) -> None:
    request = {
        "model": MODEL,
        "stream": True,
        "max_tokens": 900,
        "messages": [{"role": "user", "content": STORY}],
    }
    seen = []
    target = f"{cluster.url}/v1/chat/completions"
    async with http.stream("POST", target, json=request) as response:
        async for block in blocks(response):
            seen.append(block.data)
            if len(seen) == 5:
                kill(cluster, "okome-core-gpu")

    assert "engine_truncated" in seen[-1]
    assert "[DONE]" not in seen
    await whole(cluster)


async def test_a_drained_broker_s_streams_go_on_elsewhere(
    cluster: Cluster, http: httpx.AsyncClient
) -> None:
    job_id = await start(http, cluster.url, 500)
    reader = Reader(http, cluster.url, job_id)
    await reader.read(until=5)
    home = f"okome-node-{job_id[1:3]}"
    cluster.drain(home)
    seen = await reader.read()
    eventually(lambda: cluster.node(home)["state"] == "stopped", within=20)
    cluster.start(home)

    assert numbered(seen)
    assert seen[-1].event == "job_complete"
    assert not any(b.event == "notice" for b in seen)
    assert reader.nodes[0] == home
    assert reader.nodes[-1] != home
    await whole(cluster)
