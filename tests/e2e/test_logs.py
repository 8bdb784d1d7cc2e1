"""What a running cluster writes of a job, and what it never writes."""

from __future__ import annotations

import json

import httpx
import pytest

from tests.e2e.wire import Reader, start
from tests.support.cluster import Cluster
from tests.support.eventually import eventually_async

pytestmark = pytest.mark.cluster

NODES = ("okome-node-03", "okome-node-04", "okome-node-05", "okome-node-06", "okome-control")
SECRET = "zwetschgendatschi"


async def test_a_job_s_lines_lead_through_all_processes(
    cluster: Cluster, http: httpx.AsyncClient
) -> None:
    answer = await http.post(
        f"{cluster.url}/v1/jobs",
        json={"model": "smollm2:135m", "prompt": "Hi", "max_tokens": 5},
        headers={"X-Request-Id": "looked-for-1"},
    )
    job = answer.json()["job_id"]
    await Reader(http, cluster.url, job).read()

    def said() -> list[dict[str, object]]:
        told = cluster.okome("logs", "--job", job, "--json")
        return [json.loads(line) for line in told.splitlines()]

    lines = await eventually_async(lambda: said() if said()[-1]["message"] == "ended" else None)
    granted, begun, ended = (
        next(line for line in lines if line["message"] == word)
        for word in ("granted", "begun", "ended")
    )
    assert granted["node"] == "okome-control"
    assert granted["grant_id"] == begun["grant_id"]
    assert begun["node"] == f"okome-node-{job[1:3]}"
    assert begun["request_id"] == "looked-for-1"
    assert granted["user"] == begun["user"] == ended["user"]
    assert (ended["event"], ended["code"], ended["completion_tokens"]) == (
        "job_complete", "length", 5,
    )  # fmt: skip


async def test_no_text_of_anybody_is_written(cluster: Cluster, http: httpx.AsyncClient) -> None:
    for node in NODES:
        cluster.okome("log-level", node, "debug")
    try:
        job = await start(http, cluster.url, 20, prompt=f"Say {SECRET} again and again.")
        seen = await Reader(http, cluster.url, job).read()
        chat = {"model": "smollm2:135m", "max_tokens": 3, "session_id": "of the log"}
        said = {"messages": [{"role": "user", "content": f"And {SECRET}?"}]}
        await http.post(f"{cluster.url}/v1/chat/completions", json=chat | said)
        unknown = {"model": SECRET, "messages": [{"role": "user", "content": SECRET}]}
        await http.post(f"{cluster.url}/v1/chat/completions", json=unknown)
        # Whatever is written of an answer is written before the next one's.
        await Reader(http, cluster.url, await start(http, cluster.url, 1)).read()
    finally:
        for node in NODES:
            cluster.okome("log-level", node, "usual")
    logs = {path.name: path.read_text(encoding="utf-8") for path in cluster.paths.logs.glob("*")}
    assert any("the log level is debug now" in text for text in logs.values())
    answer = "".join(block.body["token"] for block in seen if block.event == "token").strip()
    assert len(answer) > 20
    for name, text in logs.items():
        assert SECRET not in text, name
        assert answer not in text, name
