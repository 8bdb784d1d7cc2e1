"""Two real engines with one model: what is seen when the one that answers is killed."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import httpx
import pytest
import yaml

from tests.e2e.conftest import reason_without_engine
from tests.e2e.wire import MODEL, STORY, Reader, blocks, numbered, start
from tests.support.cluster import Cluster
from tests.support.eventually import eventually
from tests.support.nets import own_octet

pytestmark = pytest.mark.cluster

FIRST, SECOND = "okome-core-gpu", "okome-core-gpu-2"


@pytest.fixture(scope="module")
def duo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster of its own with two core GPU nodes, for this file only."""
    if reason := reason_without_engine():
        pytest.skip(reason)
    cluster = Cluster(tmp_path_factory.mktemp("duo"), f"127.88.{own_octet()}.")
    content = yaml.safe_load(cluster.inventory.read_text(encoding="utf-8"))
    hosts = content["all"]["children"]["core_gpu"]["hosts"]
    hosts[SECOND] = hosts[FIRST] | {"ansible_host": f"{cluster.net}31", "okome_number": 31}
    cluster.inventory.write_text(yaml.safe_dump(content), encoding="utf-8")
    try:
        cluster.up("--set", "heartbeat=2")
        yield cluster
    finally:
        cluster.down()


@pytest.fixture
def http(duo: Cluster) -> httpx.AsyncClient:
    """A client that is signed in by the cluster's API key."""
    headers = {"Authorization": f"Bearer {duo.api_key}"}
    return httpx.AsyncClient(headers=headers, timeout=30, trust_env=False)


def kill(cluster: Cluster, node: str) -> None:
    os.kill(cluster.node(node)["pid"], signal.SIGKILL)


def serving(cluster: Cluster) -> str:
    """The node whose engine has the only job there is."""
    key = (cluster.state_dir / "credentials" / "admin_key").read_text(encoding="ascii")
    answer = httpx.get(
        f"http://{cluster.net}25:8000/internal/v1/admin/engines",
        headers={"Authorization": f"Bearer {key}"},
        trust_env=False,
    )
    (name,) = [engine["name"] for engine in answer.json()["engines"] if engine["jobs"]]
    return {"vllm": FIRST, f"vllm@{SECOND}": SECOND}[name]


def whole(cluster: Cluster) -> None:
    """Returns when both engines are up, and seen to be."""
    eventually(lambda: all(n["healthy"] for n in cluster.status()["nodes"]), within=20)
    control = f"http://{cluster.net}25:8000/readyz?engines=up"
    eventually(lambda: httpx.get(control, trust_env=False).status_code == 200, within=30)


async def test_a_killed_engine_s_answer_is_continued_by_the_other(
    duo: Cluster, http: httpx.AsyncClient
) -> None:
    async with http:
        job_id = await start(http, duo.url, 200)
        reader = Reader(http, duo.url, job_id)
        await reader.read(until=20)
        kill(duo, serving(duo))
        seen = await reader.read()
        record = (await http.get(f"{duo.url}/v1/jobs/{job_id}")).json()

    texts = [b.body["token"] for b in seen if b.event == "token"]
    assert numbered(seen)
    assert [b.body["code"] for b in seen if b.event == "notice"] == ["engine_moved"]
    assert seen[-1].event == "job_complete", seen[-1].body
    usage = seen[-1].body["usage"]
    assert usage["estimated"] is True
    assert len(texts) <= usage["completion_tokens"] <= 200
    assert 0 < usage["prompt_tokens"] < 60
    assert (record["status"], record["text"]) == ("completed", "".join(texts))
    whole(duo)


async def test_an_openai_stream_goes_on_too(duo: Cluster, http: httpx.AsyncClient) -> None:
    request = {
        "model": MODEL,
        "stream": True,
        "max_tokens": 150,
        "messages": [{"role": "user", "content": STORY}],
    }
    seen = []
    target = f"{duo.url}/v1/chat/completions"
    async with http, http.stream("POST", target, json=request) as response:
        async for block in blocks(response):
            seen.append(block.data)
            if len(seen) == 20:
                kill(duo, serving(duo))

    assert seen[-1] == "[DONE]"
    assert not any('"error"' in data for data in seen)
    assert len(seen) > 30
    whole(duo)


async def test_what_cannot_be_continued_says_why(duo: Cluster, http: httpx.AsyncClient) -> None:
    tool = {"type": "function", "function": {"name": "now", "parameters": {"type": "object"}}}
    async with http:
        job_id = await start(http, duo.url, 900, tools=[tool])
        reader = Reader(http, duo.url, job_id)
        await reader.read(until=20)
        kill(duo, serving(duo))
        seen = await reader.read()

    body = seen[-1].body
    assert (seen[-1].event, body["code"], body["retryable"]) == (
        "job_error",
        "engine_truncated",
        True,
    )
    assert "tools" in body["message"]
    whole(duo)


async def test_a_killed_broker_s_job_survives_its_engine_too(
    duo: Cluster, http: httpx.AsyncClient
) -> None:
    async with http:
        job_id = await start(http, duo.url, 400)
        reader = Reader(http, duo.url, job_id)
        await reader.read(until=20)
        kill(duo, f"okome-node-{job_id[1:3]}")
        kill(duo, serving(duo))
        seen = await reader.read()

    assert numbered(seen)
    assert seen[-1].event == "job_complete", seen[-1].body
    assert "relay_moved" in [b.body["code"] for b in seen if b.event == "notice"]
    whole(duo)
