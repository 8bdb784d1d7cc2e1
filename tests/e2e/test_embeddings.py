"""Embeddings through the whole cluster, by the OpenAI SDK and by hand."""

from __future__ import annotations

import json
from collections.abc import Iterator

import httpx
import openai
import pytest

from tests.e2e.wire import MODEL
from tests.support.cluster import Cluster
from tests.support.eventually import eventually_async

pytestmark = pytest.mark.cluster
TEXTS = ["a cat sat on the mat", "a kitten lay on the rug", "stock markets fell sharply"]


@pytest.fixture
def sdk(cluster: Cluster) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(
        base_url=f"{cluster.url}/v1", api_key=cluster.api_key, max_retries=0
    ) as client:
        yield client


def alike(one: list[float], other: list[float]) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True))


def test_the_sdk_gets_vectors_in_either_form(sdk: openai.OpenAI) -> None:
    # By itself it asks for base64, and decodes it.
    packed = sdk.embeddings.create(model=MODEL, input=TEXTS)
    spelt = sdk.embeddings.create(model=MODEL, input=TEXTS, encoding_format="float")
    assert packed.model == MODEL
    assert [one.index for one in packed.data] == [0, 1, 2]
    assert {len(one.embedding) for one in packed.data} == {576}
    for one, other in zip(packed.data, spelt.data, strict=True):
        assert one.embedding == pytest.approx(other.embedding, abs=1e-6)
    cat, kitten, markets = (one.embedding for one in packed.data)
    assert alike(cat, cat) == pytest.approx(1, abs=1e-3)
    assert alike(cat, kitten) > alike(cat, markets)
    assert packed.usage.prompt_tokens == packed.usage.total_tokens >= 12
    assert spelt.usage == packed.usage


def test_the_sdk_sends_tokens_too(sdk: openai.OpenAI) -> None:
    one = sdk.embeddings.create(model=MODEL, input=[1, 2, 3])
    assert len(one.data) == 1
    assert one.usage.prompt_tokens == 3
    assert len(sdk.embeddings.create(model=MODEL, input=[[1], [2, 3]]).data) == 2


def test_the_sdk_is_told_what_is_wrong(sdk: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as unknown:
        sdk.embeddings.create(model="nope", input="a")
    assert unknown.value.code == "unknown_model"
    with pytest.raises(openai.BadRequestError) as empty:
        sdk.embeddings.create(model=MODEL, input="")
    assert (empty.value.code, empty.value.param) == ("invalid_request", "input[0]")
    with pytest.raises(openai.BadRequestError) as sized:
        sdk.embeddings.create(model=MODEL, input="a", dimensions=7)
    assert (sized.value.code, sized.value.param) == ("invalid_request", "dimensions")
    with pytest.raises(openai.BadRequestError) as long:
        sdk.embeddings.create(model=MODEL, input="word " * 5000)
    assert long.value.code == "context_too_long"
    with pytest.raises(openai.AuthenticationError):
        sdk.with_options(api_key="ok_nobody").embeddings.create(model=MODEL, input="a")


async def test_a_request_is_counted_once_and_cached(
    cluster: Cluster, http: httpx.AsyncClient
) -> None:
    broker = cluster.broker_url("okome-node-03")
    body = {"model": MODEL, "input": ["counted once", "and cached"]}
    # Of the others' user a request of the test before may be counted only now.
    cluster.okome("user", "add", "embedder")
    key = json.loads(cluster.okome("key", "add", "embedder", "--json"))["key"]
    headers = {"Authorization": f"Bearer {key}"}

    async def known() -> bool:
        return (await http.get(f"{broker}/v1/models", headers=headers)).is_success

    async def used() -> int:
        usage = (await http.get(f"{cluster.url}/v1/usage", headers=headers)).json()
        return sum(int(model["prompt_tokens"]) for model in usage["models"])

    async def hits() -> float:
        text = (await http.get(f"{broker}/metrics")).text
        return sum(
            float(line.rpartition(" ")[2])
            for line in text.splitlines()
            if line.startswith("okome_broker_cache_lookups_total") and '"hit"' in line
        )

    await eventually_async(known)
    assert await used() == 0
    hit_before = await hits()
    answers = [
        await http.post(f"{broker}/v1/embeddings", json=body, headers=headers) for _ in range(2)
    ]
    assert [answer.status_code for answer in answers] == [200, 200]
    assert answers[0].json() == answers[1].json()
    assert await hits() == hit_before + 2
    cost = answers[0].json()["usage"]["prompt_tokens"]

    async def settled() -> bool:
        return await used() == 2 * cost

    await eventually_async(settled)


async def test_it_works_while_the_control_plane_is_away(
    cluster: Cluster, http: httpx.AsyncClient
) -> None:
    broker = cluster.broker_url("okome-node-03")
    cluster.stop("okome-control")
    try:
        body = {"model": MODEL, "input": "asked while it was away"}
        answer = await http.post(f"{broker}/v1/embeddings", json=body)
    finally:
        cluster.start("okome-control")
    assert answer.status_code == 200
    assert len(answer.json()["data"]) == 1
