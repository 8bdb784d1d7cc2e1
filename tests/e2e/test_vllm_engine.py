"""`okome up --engine … --kind vllm` over a real vLLM on the CPU: what it says when it is cut,
stopped and broken. Skipped where there is none (`tests/support/vllm_engine.py`)."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import openai
import pytest

from tests.e2e.wire import STORY, Reader, notices, numbered, signed_in, start, text_of
from tests.support.cluster import Cluster, cluster_before
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
    directory, net = tmp_path_factory.mktemp("served"), f"127.92.{own_octet()}."
    with cluster_before(directory, net, engine.url, "vllm", MODEL) as cluster:
        yield cluster


@pytest.fixture
async def http(served: Cluster) -> AsyncIterator[httpx.AsyncClient]:
    async with signed_in(served) as http:
        yield http


def proven(cluster: Cluster) -> None:
    """Returns once the engine was seen to go on behind a text."""
    control = f"http://{cluster.net}25:8000/readyz?engines=up"
    eventually(lambda: httpx.get(control, trust_env=False).status_code == 200, within=60)


async def begun(
    served: Cluster, http: httpx.AsyncClient, tokens: int, until: int = 5
) -> tuple[Reader, str]:
    """A job of so many tokens that has said something: its reader, and the text so far."""
    reader = Reader(http, served.url, await start(http, served.url, tokens, model=MODEL))
    return reader, text_of(await reader.read(until=until))


async def failed(reader: Reader) -> dict[str, Any]:
    """What the error says that ends the job."""
    seen = await reader.read()
    assert numbered(seen)
    assert (seen[-1].event, seen[-1].body["retryable"]) == ("job_error", True)
    return seen[-1].body


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

    reader, _ = await begun(served, http, 1500)
    assert await computes()
    await http.post(f"{served.url}/v1/jobs/{reader.job_id}/cancel")
    await eventually_async(rests, within=1.0)
    seen = await Reader(http, served.url, reader.job_id).read()
    assert seen[-1].event == "job_cancelled"
    usage = seen[-1].body["usage"]
    # vLLM counts in every chunk: known without an end too.
    assert "estimated" not in usage or not usage["estimated"]
    assert usage["completion_tokens"] >= 4


async def test_a_broker_s_death_is_continued_behind_the_text(
    served: Cluster, http: httpx.AsyncClient
) -> None:
    proven(served)
    reader, before = await begun(served, http, 200, until=30)
    os.kill(served.node(f"okome-node-{reader.job_id[1:3]}")["pid"], signal.SIGKILL)
    seen = await reader.read()
    assert numbered(seen)
    assert notices(seen) == ["relay_moved"]
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
    reader, _ = await begun(served, http, 1500)
    engine.terminate()
    # It says `abort`, which is a truncated answer; or an error, where its core went first.
    assert (await failed(reader))["code"] in ("engine_truncated", "engine_error")


async def test_a_core_that_dies_is_no_clean_end(
    served: Cluster, http: httpx.AsyncClient, engine: VllmEngine
) -> None:
    engine.ensure()
    proven(served)
    reader, _ = await begun(served, http, 1500)
    engine.kill_core()
    told = await failed(reader)
    assert told["code"] == "engine_error"
    assert "stack" not in told["message"]
