"""Bad input against the running cluster: a clear error with a stable code, nothing lost."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
import websockets

from tests.e2e.wire import MODEL, Reader, start
from tests.support.cluster import Cluster
from tests.support.eventually import eventually_async

pytestmark = pytest.mark.cluster

JOB: dict[str, Any] = {"model": MODEL, "prompt": "Hello", "max_tokens": 4}


async def test_no_name_that_a_client_makes_up_becomes_a_label(
    cluster: Cluster, http: httpx.AsyncClient
) -> None:
    broker = cluster.broker_url("okome-node-03")

    async def series() -> set[str]:
        text = (await http.get(f"{broker}/metrics")).text
        return {line.rpartition(" ")[0] for line in text.splitlines() if not line.startswith("#")}

    async def ask(number: int) -> int:
        made_up = {"model": f"made-up-{number}", "prompt": "x", "max_tokens": 1}
        path = ("/v1/jobs", "/v1/completions-made-up", f"/made-up-{number}")[number % 3]
        answer = await http.post(f"{broker}{path}", json=made_up)
        return answer.status_code

    refused = {await ask(number) for number in range(3)}
    before = await series()
    refused |= {await ask(number) for number in range(3, 120)}
    assert refused == {404}
    after = await series()
    assert after == before
    assert not any("made-up" in name for name in after)


@pytest.mark.parametrize(
    ("content", "code", "field"),
    [
        (b"{", "invalid_json", None),
        (b'"text"', "invalid_request", None),
        (b"\xff\xfe", "invalid_json", None),
        (b"[" * 100_000, "invalid_json", None),
        (JOB | {"model": 7}, "invalid_request", "model"),
        ({"prompt": "x"}, "invalid_request", "model"),
        (JOB | {"max_tokens": 0}, "invalid_request", "max_tokens"),
        (JOB | {"max_tokens": 10**9}, "invalid_request", "max_tokens"),
        (JOB | {"max_tokens": "many"}, "invalid_request", "max_tokens"),
        (JOB | {"temperature": 9}, "invalid_request", "temperature"),
        (JOB | {"messages": []}, "invalid_request", "messages"),
        ({"model": MODEL}, "invalid_request", "messages"),
        ({"model": MODEL, "messages": [{"role": "boss"}]}, "invalid_request", "messages[0].role"),
        (JOB | {"stop": ["a"] * 9}, "invalid_request", "stop"),
        (JOB | {"metadata": {"k": "x" * 5000}}, "invalid_request", "metadata"),
        (JOB | {"model": "no-such-model"}, "unknown_model", None),
    ],
)
async def test_a_bad_job_is_refused(
    cluster: Cluster,
    http: httpx.AsyncClient,
    content: bytes | dict[str, Any],
    code: str,
    field: str | None,
) -> None:
    raw = content if isinstance(content, bytes) else json.dumps(content).encode()
    headers = {"Content-Type": "application/json"}
    answer = await http.post(f"{cluster.url}/v1/jobs", content=raw, headers=headers)

    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.status_code == (404 if code == "unknown_model" else 400)
    problem = answer.json()
    assert problem["code"] == code
    if field is not None:
        assert problem["field"] == field
    assert "Traceback" not in answer.text


async def test_openai_paths_answer_in_that_api_s_shape(
    cluster: Cluster, http: httpx.AsyncClient
) -> None:
    target = f"{cluster.url}/v1/chat/completions"
    body = {"model": MODEL, "messages": [{"role": "user", "content": "x"}], "max_tokens": -1}
    answer = await http.post(target, json=body)

    error = answer.json()["error"]
    assert answer.status_code == 400
    assert (error["type"], error["param"], error["code"]) == (
        "invalid_request_error",
        "max_tokens",
        "invalid_request",
    )


async def test_what_only_the_engine_can_refuse_is_no_fault_of_the_engine(
    cluster: Cluster, http: httpx.AsyncClient
) -> None:
    strange = [{"role": "user", "content": [{"type": "bogus"}]}]
    body = {"model": MODEL, "messages": strange}
    answer = await http.post(f"{cluster.url}/v1/chat/completions", json=body)
    error = answer.json()["error"]
    assert (answer.status_code, error["type"]) == (400, "invalid_request_error")
    assert error["code"] == "engine_error"

    job = (await http.post(f"{cluster.url}/v1/jobs", json=body)).json()["job_id"]

    async def failed() -> dict[str, Any] | None:
        told = (await http.get(f"{cluster.url}/v1/jobs/{job}")).json()
        return told["error"] if told["status"] == "failed" else None

    told = await eventually_async(failed)
    assert told is not None
    assert (told["code"], told["retryable"]) == ("engine_error", False)


async def test_without_a_credential_or_with_a_wrong_one(cluster: Cluster) -> None:
    async with httpx.AsyncClient(trust_env=False) as stranger:
        for headers in ({}, {"Authorization": "Bearer ok_wrong"}, {"Cookie": "okome_session=x.y"}):
            for path in ("/v1/stream?job_id=x", "/v1/jobs/x"):
                answer = await stranger.get(cluster.url + path, headers=headers)
                assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")
        answer = await stranger.get(f"{cluster.url}/v1/models")
        assert answer.json()["error"]["code"] == "unauthenticated"


async def test_a_revoked_key_is_refused_on_every_broker(
    cluster: Cluster, http: httpx.AsyncClient
) -> None:
    made = (await http.post(f"{cluster.url}/v1/keys", json={})).json()
    own = {"Authorization": f"Bearer {made['key']}"}
    before = await http.get(f"{cluster.url}/v1/models", headers=own)
    await http.delete(f"{cluster.url}/v1/keys/{made['id']}")

    async def refused() -> bool:
        statuses = set()
        for number in (3, 4, 5, 6):
            url = cluster.broker_url(f"okome-node-0{number}")
            statuses.add((await http.get(f"{url}/v1/models", headers=own)).status_code)
        return statuses == {401}

    assert before.status_code == 200
    await eventually_async(refused, within=5)


async def test_a_body_over_the_limit(cluster: Cluster, http: httpx.AsyncClient) -> None:
    answer = await http.post(f"{cluster.url}/v1/jobs", json=JOB | {"prompt": "x" * (2 << 20)})
    assert (answer.status_code, answer.json()["code"]) == (413, "payload_too_large")


async def test_a_form_is_not_json(cluster: Cluster, http: httpx.AsyncClient) -> None:
    answer = await http.post(f"{cluster.url}/v1/jobs", data={"model": MODEL})
    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_media_type")


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/v1/stream", 400, "invalid_request"),
        ("/v1/stream?job_id=nonsense", 404, "unknown_job"),
        ("/v1/stream?job_id=n03w0-01ARZ3NDEKTSV4RRFFQ69G5FAV", 404, "unknown_job"),
        ("/v1/stream?job_id=n99w9-01ARZ3NDEKTSV4RRFFQ69G5FAV", 404, "unknown_job"),
        ("/v1/stream?job_id=nonsense&heartbeat=1", 400, "invalid_request"),
        ("/v1/jobs/nonsense", 404, "unknown_job"),
        ("/v1/nothing", 404, "not_found"),
        ("/internal/v1/policy", 404, "not_found"),
        ("/metrics", 404, "not_found"),
    ],
)
async def test_what_is_not_there(
    cluster: Cluster, http: httpx.AsyncClient, path: str, status: int, code: str
) -> None:
    answer = await http.get(cluster.url + path)
    assert (answer.status_code, answer.json()["code"]) == (status, code)


async def test_a_cookie_needs_the_right_origin_to_change_something(
    cluster: Cluster, http: httpx.AsyncClient
) -> None:
    token = (await http.post(f"{cluster.url}/auth/token")).json()["token"]
    host = cluster.url.removeprefix("http://")
    async with httpx.AsyncClient(trust_env=False, cookies={"okome_session": token}) as browser:
        target = f"{cluster.url}/v1/jobs"
        none = await browser.post(target, json=JOB)
        other = await browser.post(target, json=JOB, headers={"Origin": "http://evil.example"})
        own = await browser.post(target, json=JOB, headers={"Origin": f"http://{host}"})

    assert (none.status_code, none.json()["code"]) == (403, "origin_not_allowed")
    assert (other.status_code, other.json()["code"]) == (403, "origin_not_allowed")
    assert own.status_code == 202


async def test_a_confused_websocket_client_is_told_and_keeps_its_connection(
    cluster: Cluster,
) -> None:
    url = cluster.url.replace("http://", "ws://") + "/v1/ws"
    headers = {"Authorization": f"Bearer {cluster.api_key}"}
    async with websockets.connect(url, additional_headers=headers) as socket:
        told = []
        for message in (
            "{",
            "[]",
            '{"op":"fly"}',
            '{"op":"create","ref":"r","job":{"model":7}}',
            '{"op":"resume","job_id":"n03w0-x","cursor":0}',
            '{"op":"resume","job_id":"n03w0-x","cursor":-1}',
        ):
            await socket.send(message)
            told.append(json.loads(await socket.recv()))
        await socket.send('{"op":"ping"}')
        pong = json.loads(await socket.recv())

    assert [t["data"]["code"] for t in told] == [
        "invalid_json",
        "invalid_request",
        "invalid_request",
        "invalid_request",
        "unknown_job",
        "bad_cursor",
    ]
    assert told[3]["ref"] == "r"
    assert pong == {"event": "pong"}


async def test_a_client_that_sends_and_never_reads_hurts_nobody(
    cluster: Cluster, http: httpx.AsyncClient
) -> None:
    url = cluster.broker_url("okome-node-04").replace("http://", "ws://") + "/v1/ws"
    headers = {"Authorization": f"Bearer {cluster.api_key}"}
    async with websockets.connect(url, additional_headers=headers, max_queue=1) as deaf:
        deaf.transport.pause_reading()
        for _ in range(2000):
            deaf.transport.write(_masked(b'{"op":"ping"}'))
        job_id = await start(http, cluster.broker_url("okome-node-04"), 8)
        seen = await Reader(http, cluster.broker_url("okome-node-04"), job_id).read()
        deaf.transport.abort()

    assert seen[-1].event == "job_complete"


def _masked(payload: bytes) -> bytes:
    """A client's text frame with the mask 0000 (RFC 6455, section 5.2)."""
    return bytes([0x81, 0x80 | len(payload)]) + b"\0\0\0\0" + payload
