"""A policy file on a running cluster: aliases, a change under way, the control plane away."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.conftest import reason_without_engine
from tests.e2e.wire import MODEL, Reader
from tests.support.cluster import Cluster, CommandFailedError
from tests.support.eventually import eventually_async
from tests.support.nets import own_octet

pytestmark = pytest.mark.cluster

POLICY = f"""\
version: 1
models:
  chat: {{engines: [{{engine: vllm, model: "{MODEL}"}}], max_tokens: 6}}
  secret: {{engines: [{{engine: vllm, model: "{MODEL}"}}], tiers: [gold]}}
aliases: {{default: chat, hidden: secret}}
tiers: {{gold: {{}}}}
"""
CONTROL = "okome-control"


class Ruled(Cluster):
    """A cluster with a policy file of its own."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory, f"127.84.{own_octet()}.")
        self.policy = directory / "policy.yml"
        self.policy.write_text(POLICY)


@pytest.fixture(scope="module")
def ruled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ruled]:
    if reason := reason_without_engine():
        pytest.skip(reason)
    cluster = Ruled(tmp_path_factory.mktemp("ruled"))
    try:
        cluster.up("--policy", str(cluster.policy), "--set", "policy_poll=0.5")
        yield cluster
    finally:
        cluster.down()


@pytest.fixture
async def http(ruled: Ruled) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"Authorization": f"Bearer {ruled.api_key}"}
    async with httpx.AsyncClient(
        base_url=ruled.url, headers=headers, timeout=30, trust_env=False
    ) as client:
        yield client


async def names(http: httpx.AsyncClient) -> list[str]:
    return [model["id"] for model in (await http.get("/v1/models")).json()["data"]]


async def ask(http: httpx.AsyncClient, model: str, most: int = 50) -> dict[str, Any]:
    body = {"model": model, "max_tokens": most, "messages": [{"role": "user", "content": "Hi"}]}
    answer = await http.post("/v1/chat/completions", json=body)
    found: dict[str, Any] = answer.json()
    return found


async def test_a_policy_rules_the_cluster_and_its_brokers_alone(
    ruled: Ruled, http: httpx.AsyncClient
) -> None:
    assert await names(http) == ["chat", "default"]
    said = await ask(http, "default")
    assert (said["model"], said["usage"]["completion_tokens"] <= 6) == ("default", True)
    assert (await ask(http, "hidden"))["error"]["code"] == "model_not_allowed"
    assert (await ask(http, MODEL))["error"]["code"] == "unknown_model"

    ruled.policy.write_text(POLICY.replace("default: chat", "default: chat, quick: default"))
    assert await eventually_async(lambda: _offers(http, "quick"), 10)
    ruled.policy.write_text(POLICY.replace("default: chat", "default: chad"))
    await eventually_async(lambda: "REFUSED" in ruled.okome("policy", "show"), 10)
    assert (await ask(http, "quick"))["model"] == "quick"
    with pytest.raises(CommandFailedError, match="no model or alias is called 'chad'"):
        ruled.okome("policy", "check", str(ruled.policy))

    # The bad file outlives the process, and so does the good policy.
    ruled.stop(CONTROL)
    job = {"model": "quick", "prompt": "Hi", "max_tokens": 50}
    made = (await http.post("/v1/jobs", json=job)).json()
    seen = await Reader(http, ruled.url, made["job_id"]).read()
    assert (seen[0].event, seen[-1].event) == ("notice", "job_complete")
    record = (await http.get(f"/v1/jobs/{made['job_id']}")).json()
    assert record["model"] == "quick"
    assert record["usage"]["completion_tokens"] <= 6
    ruled.start(CONTROL)
    assert "REFUSED" in ruled.okome("policy", "show")
    assert (await ask(http, "quick"))["model"] == "quick"


async def _offers(http: httpx.AsyncClient, name: str) -> bool:
    return name in await names(http)
