"""Conversations on a running cluster: asked through the ingress, kept by the control plane."""

from __future__ import annotations

import asyncio
import json
import uuid
from typing import Any

import httpx
import pytest
import websockets

from tests.e2e.wire import MODEL, start
from tests.support.cluster import Cluster
from tests.support.eventually import eventually_async

pytestmark = pytest.mark.cluster


async def kept(
    http: httpx.AsyncClient, cluster: Cluster, session: str, count: int
) -> list[dict[str, Any]]:
    """The messages of a conversation, once there are `count`."""

    async def messages() -> list[dict[str, Any]]:
        answer = await http.get(f"{cluster.url}/v1/sessions/{session}")
        found: list[dict[str, Any]] = answer.json().get("messages", [])
        return found if len(found) >= count else []

    return await eventually_async(messages, within=60)


async def test_every_way_of_asking_leads_to_a_conversation(
    cluster: Cluster, http: httpx.AsyncClient
) -> None:
    native, completion, socket = (str(uuid.uuid4()) for _ in range(3))
    job_id = await start(http, cluster.url, 8, session_id=native)
    body = {"model": MODEL, "max_tokens": 8, "messages": [{"role": "user", "content": "Hello"}]}
    answer = await http.post(
        f"{cluster.url}/v1/chat/completions", json=body | {"metadata": {"session_id": completion}}
    )
    url = cluster.url.replace("http", "ws", 1) + "/v1/ws"
    key = {"Authorization": f"Bearer {cluster.api_key}"}
    async with websockets.connect(url, additional_headers=key) as ws:
        await ws.send(json.dumps({"op": "create", "job": body | {"session_id": socket}}))
        async with asyncio.timeout(60):
            while json.loads(await ws.recv())["event"] != "job_complete":
                pass
    chat = await http.post(f"{cluster.url}/chat", json={"message": "Hello there"})
    talk = json.loads(chat.text.split("\n")[1].removeprefix("data: "))["conversation_id"]

    question, said = await kept(http, cluster, native, 2)
    record = (await http.get(f"{cluster.url}/v1/jobs/{job_id}")).json()
    assert (said["text"], said["job_id"]) == (record["text"], job_id)
    assert (said["outcome"], said["code"]) == ("completed", record["finish_reason"])
    assert question["role"] == "user"
    _, said = await kept(http, cluster, completion, 2)
    assert said["text"] == answer.json()["choices"][0]["message"]["content"]
    assert [one["role"] for one in await kept(http, cluster, socket, 2)] == ["user", "assistant"]
    question, _ = await kept(http, cluster, talk, 2)
    assert question["text"] == "Hello there"

    listed = (await http.get(f"{cluster.url}/v1/sessions?limit=200")).json()["sessions"]
    assert {native, completion, socket, talk} <= {one["id"] for one in listed}
    assert (await http.delete(f"{cluster.url}/v1/sessions/{native}")).status_code == 204
    assert (await http.get(f"{cluster.url}/v1/sessions/{native}")).status_code == 404


async def test_what_was_asked_is_not_readable_in_the_files(
    cluster: Cluster, http: httpx.AsyncClient
) -> None:
    session, secret = str(uuid.uuid4()), f"the password is {uuid.uuid4()}"
    await start(http, cluster.url, 4, session_id=session, prompt=secret)
    question, _ = await kept(http, cluster, session, 2)
    assert question["text"] == secret
    databases = list(cluster.state_dir.rglob("*.sqlite3*"))
    assert databases
    assert all(secret.encode() not in file.read_bytes() for file in databases)
