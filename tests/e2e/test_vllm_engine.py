"""`okome up --engine … --kind vllm` over a real vLLM on the CPU: what it says when it is cut,
stopped and broken. Skipped where there is none (`tests/support/vllm_engine.py`)."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator, Iterator

import httpx
import openai
import pytest

from tests.e2e.wire import STORY, Block, Reader, numbered, start
from tests.support.cluster import Cluster
from tests.support.eventually import eventually, eventually_async
from tests.support.nets import own_octet
from tests.support.vllm_engine import MODEL, VllmEngine, reason_to_skip

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VllmEngine]:
    if reason := reason_to_skip():
        pytest.skip(reason)
    with VllmEngine(tmp_path_factory.mktemp("vllm") / "vllm.log") as engine:
        yield engine


@pytest.fixture(scope="module")
def served(engine: VllmEngine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    running = Cluster(tmp_path_factory.mktemp("served"), f"127.92.{own_octet()}.")
    try:
        running.up("--engine", engine.url, "--kind", "vllm", "--model", MODEL)
        yield running
    finally:
        running.down()


@pytest.fixture
async def http(served: Cluster) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"Authorization": f"Bearer {served.api_key}"}
    async with httpx.AsyncClient(headers=headers, timeout=60, trust_env=False) as client:
        yield client


def proven(cluster: Cluster) -> None:
    """Returns once the engine was seen to go on behind a text."""
    control = f"http://{cluster.net}25:8000/readyz?engines=up"
    eventually(lambda: httpx.get(control, trust_env=False).status_code == 200, within=60)


def text_of(seen: list[Block]) -> str:
    return "".join(block.body["token"] for block in seen if block.event == "token")


async def test_a_chat_streams_with_its_usage(served: Cluster) -> None:
    client = openai.AsyncOpenAI(base_url=f"{served.url}/v1", api_key=served.api_key, max_retries=0)
    async with client:
        stream = await client.chat.completions.create(
            model=MODEL,
            messages=[{"role": "user", "content": STORY}],
            max_tokens=24,
            stream=True,
            stream_options={"include_usage": True},
        )
        chunks = [chunk async for chunk in stream]
        with pytest.raises(openai.BadRequestError) as none:
            await client.embeddings.create(model=MODEL, input="a")
    assert none.value.param == "model"
    usage = chunks[-1].usage
    assert usage is not None
    assert usage.completion_tokens == 24
    assert usage.prompt_tokens > 10
    assert chunks[-2].choices[0].finish_reason == "length"
    assert sum(bool(c.choices and c.choices[0].delta.content) for c in chunks) > 12


async def test_a_cancel_stops_it_within_a_second(
    served: Cluster, http: httpx.AsyncClient, engine: VllmEngine
) -> None:
    async def computes() -> bool:
        return await engine.running() > 0

    async def rests() -> bool:
        return await engine.running() == 0

    job_id = await start(http, served.url, 1500, model=MODEL)
    await Reader(http, served.url, job_id).read(until=5)
    assert await computes()
    await http.post(f"{served.url}/v1/jobs/{job_id}/cancel")
    await eventually_async(rests, within=1.0)
    seen = await Reader(http, served.url, job_id).read()
    assert seen[-1].event == "job_cancelled"
    usage = seen[-1].body["usage"]
    # vLLM counts in every chunk: known without an end too.
    assert "estimated" not in usage or not usage["estimated"]
    assert usage["completion_tokens"] >= 4


async def test_a_broker_s_death_is_continued_behind_the_text(
    served: Cluster, http: httpx.AsyncClient
) -> None:
    proven(served)
    job_id = await start(http, served.url, 200, model=MODEL)
    reader = Reader(http, served.url, job_id)
    before = text_of(await reader.read(until=30))
    os.kill(served.node(f"okome-node-{job_id[1:3]}")["pid"], signal.SIGKILL)
    seen = await reader.read()
    assert numbered(seen)
    assert [b.body["code"] for b in seen if b.event == "notice"] == ["relay_moved"]
    assert seen[-1].event == "job_complete"
    assert seen[-1].body["usage"]["completion_tokens"] <= 200
    whole = text_of(seen)
    assert whole.startswith(before)
    # A seam that says again what stands before it is no seam.
    assert not whole[len(before) :].startswith(before[:40])
    eventually(lambda: all(node["healthy"] for node in served.status()["nodes"]), within=20)


async def test_a_termination_is_no_clean_end(
    served: Cluster, http: httpx.AsyncClient, engine: VllmEngine
) -> None:
    engine.ensure()
    proven(served)
    job_id = await start(http, served.url, 1500, model=MODEL)
    reader = Reader(http, served.url, job_id)
    await reader.read(until=5)
    engine.terminate()
    seen = await reader.read()
    assert numbered(seen)
    body = seen[-1].body
    # It says `abort`, which is a truncated answer; or an error, where its core went first.
    assert seen[-1].event == "job_error"
    assert body["code"] in ("engine_truncated", "engine_error")
    assert body["retryable"]


async def test_a_core_that_dies_is_no_clean_end(
    served: Cluster, http: httpx.AsyncClient, engine: VllmEngine
) -> None:
    engine.ensure()
    proven(served)
    job_id = await start(http, served.url, 1500, model=MODEL)
    reader = Reader(http, served.url, job_id)
    await reader.read(until=5)
    engine.kill_core()
    seen = await reader.read()
    body = seen[-1].body
    assert (seen[-1].event, body["code"], body["retryable"]) == ("job_error", "engine_error", True)
    assert "stack" not in body["message"]
