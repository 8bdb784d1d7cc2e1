"""`okome up --engine … --kind tf_serving`: predictions through the whole cluster."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator

import httpx
import openai
import pytest

from tests.e2e.wire import Block, Reader, numbered, signed_in, start
from tests.support.cluster import Cluster, cluster_before
from tests.support.eventually import eventually_async
from tests.support.nets import own_octet
from tests.support.tensorflow_wire import TensorFlowWire

pytestmark = pytest.mark.cluster
MODEL = "half_plus_two"


@pytest.fixture(scope="module")
def engine() -> Iterator[TensorFlowWire]:
    with TensorFlowWire() as engine:
        yield engine


@pytest.fixture(scope="module")
def predicting(
    engine: TensorFlowWire, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cluster]:
    directory, net = tmp_path_factory.mktemp("tf"), f"127.91.{own_octet()}."
    with cluster_before(directory, net, engine.url, "tf_serving", MODEL) as cluster:
        yield cluster


@pytest.fixture
async def http(predicting: Cluster) -> AsyncIterator[httpx.AsyncClient]:
    async with signed_in(predicting) as http:
        yield http


async def begun(http: httpx.AsyncClient, url: str, prompt: str) -> str:
    return await start(http, url, 1, model=MODEL, prompt=prompt)


async def told(http: httpx.AsyncClient, url: str, prompt: str) -> list[Block]:
    seen = await Reader(http, url, await begun(http, url, prompt)).read()
    assert numbered(seen)
    return seen


@pytest.mark.parametrize(
    ("prompt", "result"),
    [
        ("[1.0, 2.0, 5.0]", '{"predictions":[2.5,3.0,4.5]}'),
        ('{"inputs": [4], "signature_name": "s"}', '{"outputs":[4.0]}'),
        ("four words, one text", '{"predictions":[20]}'),
        ("nan", '{"predictions":[NaN,Infinity,0.5]}'),
    ],
)
async def test_a_prediction_is_one_token_and_the_end(
    predicting: Cluster, http: httpx.AsyncClient, prompt: str, result: str
) -> None:
    token, end = await told(http, predicting.url, prompt)
    assert (token.event, token.body["token"]) == ("token", result)
    assert (end.event, end.body["finish_reason"]) == ("job_complete", "stop")
    record = (await http.get(f"{predicting.url}/v1/jobs/{token.body['job_id']}")).json()
    assert (record["engine"], record["text"]) == ("tf_serving", result)


@pytest.mark.parametrize("prompt", ["broken", "page", "huge", "[]"])
async def test_what_goes_wrong_is_one_clear_end(
    predicting: Cluster, http: httpx.AsyncClient, prompt: str
) -> None:
    for _ in range(2):  # An engine that fails more often than not is left alone.
        await told(http, predicting.url, "[1]")
    (end,) = await told(http, predicting.url, prompt)
    assert (end.event, end.body["code"]) == ("job_error", "engine_error")
    assert "<" not in end.body["message"]


async def test_a_cancel_closes_the_call(
    predicting: Cluster, http: httpx.AsyncClient, engine: TensorFlowWire
) -> None:
    async def waiting() -> int:
        count: int = (await http.get(f"{engine.url}/waiting")).json()
        return count

    async def nobody_waits() -> bool:
        return await waiting() == 0

    job_id = await begun(http, predicting.url, "slow")
    await eventually_async(waiting)
    await http.post(f"{predicting.url}/v1/jobs/{job_id}/cancel")
    await eventually_async(nobody_waits, within=1.0)
    (end,) = await Reader(http, predicting.url, job_id).read()
    assert (end.event, end.body["reason"]) == ("job_cancelled", "client")


async def test_the_openai_sdk_gets_it_too(predicting: Cluster) -> None:
    client = openai.AsyncOpenAI(
        base_url=f"{predicting.url}/v1", api_key=predicting.api_key, max_retries=0
    )
    async with client:
        answer = await client.chat.completions.create(
            model=MODEL, messages=[{"role": "user", "content": "[2]"}]
        )
        assert json.loads(answer.choices[0].message.content or "") == {"predictions": [3.0]}
        with pytest.raises(openai.BadRequestError) as none:
            await client.embeddings.create(model=MODEL, input="a")
    assert none.value.param == "model"
