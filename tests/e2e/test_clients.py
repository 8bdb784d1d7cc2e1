"""The clients that people have: OpenAI's SDK (new and old), curl, a WebSocket library."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
import websockets

from tests.e2e.wire import MODEL, STORY
from tests.support.cluster import ROOT, Cluster

pytestmark = pytest.mark.cluster

OLD_SDK = Path(sys.prefix) / "openai-old"
CLIENT = ROOT / "tests" / "e2e" / "openai_client.py"


@pytest.mark.parametrize("sdk", ["current", "old"])
async def test_the_openai_sdk(cluster: Cluster, http: httpx.AsyncClient, sdk: str) -> None:
    environment = dict(os.environ)
    if sdk == "old":
        if not OLD_SDK.exists():
            pytest.skip("the old SDK is not installed (scripts/install --test)")
        environment["PYTHONPATH"] = str(OLD_SDK)
    program = await asyncio.create_subprocess_exec(
        sys.executable,
        str(CLIENT),
        f"{cluster.url}/v1",
        cluster.api_key,
        stdout=asyncio.subprocess.PIPE,
        env=environment,
    )
    assert program.stdout is not None

    async def told() -> dict[str, Any]:
        assert program.stdout is not None
        async with asyncio.timeout(60):
            answer: dict[str, Any] = json.loads(await program.stdout.readline())
        return answer

    version = await told()
    assert version["models"] == [MODEL]
    assert (int(version["version"].split(".")[0]) < 3) == (sdk == "old")
    whole = await told()
    assert whole["text"]
    assert 0 < whole["usage"] <= 8
    job_id = (await told())["job_id"]
    await pause_engine_until_keep_alive(cluster, http, job_id)
    streamed = await told()
    assert (streamed["ids"], streamed["roles"]) == (1, ["assistant"])
    assert 4 < streamed["usage"] <= 120
    assert streamed["text"] > 20
    for _ in range(2):
        refused = await told()
        assert refused["code"] == refused["expected"]
    assert await program.wait() == 0


async def pause_engine_until_keep_alive(
    cluster: Cluster, http: httpx.AsyncClient, job_id: str
) -> None:
    """Stalls the engine until the stream of `job_id` has said a keep-alive."""
    engine = cluster.node("okome-core-gpu")["pid"]
    os.kill(engine, signal.SIGSTOP)
    try:
        target = f"{cluster.url}/v1/chat/completions/{job_id}"
        async with http.stream("GET", target, headers={"Accept": "text/event-stream"}) as response:
            async for line in response.aiter_lines():
                if line == ": keep-alive":
                    break
    finally:
        os.kill(engine, signal.SIGCONT)


async def test_a_cut_completion_goes_on_with_its_last_event_id(
    cluster: Cluster, http: httpx.AsyncClient
) -> None:
    request = {
        "model": MODEL,
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_tokens": 20,
        "messages": [{"role": "user", "content": STORY}],
    }
    async with http.stream("POST", f"{cluster.url}/v1/chat/completions", json=request) as response:
        job_id = response.headers["x-okome-job-id"]
        whole = (await response.aread()).decode()
    last = whole.count("id: ")
    cut_at = whole.index("id: 7\n")
    cut_at = whole.index("\n\n", cut_at) + 2
    target = f"{cluster.broker_url('okome-node-05')}/v1/chat/completions/{job_id}"
    stream = {"Accept": "text/event-stream"}

    rest = await http.get(target, headers=stream | {"Last-Event-ID": "7"})
    end = await http.get(target, headers=stream | {"Last-Event-ID": str(last)})
    finished = await http.get(target)

    assert whole[:cut_at] + rest.text == whole
    assert end.status_code == 204
    assert finished.json()["usage"]["completion_tokens"] == last - 1
    assert finished.json()["id"] == f"chatcmpl-{job_id}"


def test_curl_streams_as_the_banner_says(cluster: Cluster) -> None:
    curl = shutil.which("curl")
    if curl is None:
        pytest.skip("curl is not installed")
    body = {"model": MODEL, "stream": True, "max_tokens": 4}
    body["messages"] = [{"role": "user", "content": "Hi"}]
    done = subprocess.run(
        [
            *(curl, "-sN", f"{cluster.local_url}/v1/chat/completions"),
            *("-H", f"Authorization: Bearer {cluster.api_key}"),
            *("-H", "Content-Type: application/json"),
            *("-d", json.dumps(body)),
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.endswith("data: [DONE]\n\n")
    assert done.stdout.count('"content":"') >= 3


async def test_a_websocket_carries_many_jobs(cluster: Cluster) -> None:
    url = cluster.url.replace("http://", "ws://") + "/v1/ws"
    headers = {"Authorization": f"Bearer {cluster.api_key}"}
    async with websockets.connect(
        url, additional_headers=headers, subprotocols=[websockets.Subprotocol("okome.v1")]
    ) as socket:
        assert socket.subprotocol == "okome.v1"
        for ref in ("a", "b", "c"):
            job = {"model": MODEL, "prompt": f"{STORY} Name it {ref}.", "max_tokens": 12}
            await socket.send(json.dumps({"op": "create", "ref": ref, "job": job}))
        seqs: dict[str, list[int]] = {}
        refs: dict[str, str] = {}
        ended = 0
        while ended < 3:
            message = json.loads(await socket.recv())
            if message["event"] == "created":
                refs[message["ref"]] = message["job_id"]
                continue
            seqs.setdefault(message["job_id"], []).append(message["seq"])
            ended += message["event"] == "job_complete"
        last = seqs[refs["a"]][-1]
        await socket.send(json.dumps({"op": "resume", "job_id": refs["a"], "cursor": last}))
        at_end = json.loads(await socket.recv())

    assert all(numbers == list(range(1, len(numbers) + 1)) for numbers in seqs.values())
    assert at_end == {"event": "ended", "job_id": refs["a"], "last_seq": last}


async def test_chat_remembers_its_conversation(cluster: Cluster, http: httpx.AsyncClient) -> None:
    first = await http.post(f"{cluster.url}/chat", json={"message": "My name is Aki."})
    lines = first.text.split("\n")
    assert lines[0] == "event: connected"
    conversation = json.loads(lines[1].removeprefix("data: "))["conversation_id"]
    body = {"message": "What is my name?", "conversation_id": conversation}
    second = await http.post(f"{cluster.url}/chat", json=body)

    job = (await http.get(f"{cluster.url}/v1/jobs/{second.headers['x-okome-job-id']}")).json()
    alone = (await http.get(f"{cluster.url}/v1/jobs/{first.headers['x-okome-job-id']}")).json()
    assert job["usage"]["prompt_tokens"] > alone["usage"]["prompt_tokens"] + 10
    last = json.loads(second.text.strip().split("\n")[-1].removeprefix("data: "))
    assert (last["token"], last["done"]) == ("[DONE]", True)
