"""The native API against the running cluster with the real engine."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from tests.e2e.wire import MODEL, Reader, numbered, start
from tests.support.cluster import Cluster

pytestmark = pytest.mark.cluster


async def raw(http: httpx.AsyncClient, url: str, job_id: str, cursor: int = 0) -> bytes:
    response = await http.get(f"{url}/v1/stream?job_id={job_id}&cursor={cursor}")
    return response.content.removeprefix(b"retry: 1000\n")


async def test_a_job_streams_numbered_tokens_and_ends_once(
    cluster: Cluster, http: httpx.AsyncClient
) -> None:
    job_id = await start(http, cluster.url, 16)
    seen = await Reader(http, cluster.url, job_id).read()

    assert numbered(seen)
    assert [block.event for block in seen[:-1]] == ["token"] * (len(seen) - 1)
    end = seen[-1]
    assert end.event == "job_complete"
    assert end.body["usage"]["completion_tokens"] == len(seen) - 1
    assert end.body["metrics"]["ttft_ms"] > 0
    record = (await http.get(f"{cluster.url}/v1/jobs/{job_id}")).json()
    assert record["text"] == "".join(block.body["token"] for block in seen[:-1])
    assert (record["status"], record["last_seq"]) == ("completed", len(seen))


async def test_a_cut_stream_goes_on_byte_for_byte_on_every_other_broker(
    cluster: Cluster, http: httpx.AsyncClient
) -> None:
    job_id = await start(http, cluster.url, 24)
    whole = await raw(http, cluster.url, job_id)
    size = len(whole.split(b"\n\n")) - 1

    for number in (3, 4, 5, 6):
        broker = cluster.broker_url(f"okome-node-0{number}")
        for cut in (1, size // 2, size - 1):
            rest = await raw(http, broker, job_id, cut)
            head = b"\n\n".join(whole.split(b"\n\n")[:cut]) + b"\n\n"
            assert head + rest == whole


async def test_a_live_stream_is_taken_up_on_another_broker_while_it_runs(
    cluster: Cluster, http: httpx.AsyncClient
) -> None:
    job_id = await start(http, cluster.url, 80)
    reader = Reader(http, cluster.url, job_id)
    await reader.read(until=10)
    home = f"okome-node-{job_id[1:3]}"
    other = next(n for n in ("okome-node-03", "okome-node-04") if n != home)
    reader.url = cluster.broker_url(other)
    seen = await reader.read()

    assert reader.nodes == [home, other]
    assert numbered(seen)
    assert seen[-1].event == "job_complete"


async def test_the_end_of_a_log_answers_204_and_beyond_it_400(
    cluster: Cluster, http: httpx.AsyncClient
) -> None:
    job_id = await start(http, cluster.url, 4)
    last = len(await Reader(http, cluster.url, job_id).read())
    target = f"{cluster.url}/v1/stream?job_id={job_id}&cursor="

    at_end = await http.get(f"{target}{last}")
    beyond = await http.get(f"{target}{last + 1}")
    garbled = await http.get(f"{target}x")

    assert (at_end.status_code, at_end.content) == (204, b"")
    assert (beyond.status_code, beyond.json()["code"]) == (400, "bad_cursor")
    assert (garbled.status_code, garbled.json()["code"]) == (400, "bad_cursor")


async def test_cancel_on_any_broker_ends_the_job_for_all(
    cluster: Cluster, http: httpx.AsyncClient
) -> None:
    job_id = await start(http, cluster.url, 900)
    reader = Reader(http, cluster.url, job_id)
    await reader.read(until=3)
    home = f"okome-node-{job_id[1:3]}"
    other = next(n for n in ("okome-node-03", "okome-node-04") if n != home)
    target = f"{cluster.broker_url(other)}/v1/jobs/{job_id}/cancel"

    first = await http.post(target)
    seen = await reader.read()
    again = await http.post(target)

    assert (first.status_code, again.status_code) == (202, 202)
    assert numbered(seen)
    assert (seen[-1].event, seen[-1].body["reason"]) == ("job_cancelled", "client")


async def test_cancel_before_the_first_token(cluster: Cluster, http: httpx.AsyncClient) -> None:
    long_prompt = "word " * 1200
    job_id = await start(http, cluster.url, 200, prompt=long_prompt)
    assert (await http.post(f"{cluster.url}/v1/jobs/{job_id}/cancel")).status_code == 202

    seen = await Reader(http, cluster.url, job_id).read()

    assert [block.event for block in seen] == ["job_cancelled"]


async def test_the_same_key_is_the_same_job_on_every_broker(
    cluster: Cluster, http: httpx.AsyncClient
) -> None:
    body = {"model": MODEL, "prompt": "Hello", "max_tokens": 4}
    urls = [cluster.broker_url(f"okome-node-0{n}") for n in (3, 4, 5, 6)]
    answers = await asyncio.gather(
        *(
            http.post(f"{url}/v1/jobs", json=body, headers={"Idempotency-Key": '"one-key"'})
            for url in urls
        )
    )
    other = await http.post(
        f"{cluster.url}/v1/jobs",
        json=body | {"max_tokens": 5},
        headers={"Idempotency-Key": "one-key"},
    )

    assert len({answer.json()["job_id"] for answer in answers}) == 1
    assert sorted(answer.status_code for answer in answers) == [200, 200, 200, 202]
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")


async def test_a_stream_has_the_headers_of_the_contract(
    cluster: Cluster, http: httpx.AsyncClient
) -> None:
    job_id = await start(http, cluster.url, 4)
    response = await http.get(f"{cluster.url}/v1/stream?job_id={job_id}&heartbeat=2")

    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert response.headers["cache-control"] == "no-cache, no-transform"
    assert response.headers["x-accel-buffering"] == "no"
    assert response.headers["x-content-type-options"] == "nosniff"
    assert "content-length" not in response.headers
    assert response.content.startswith(b"retry: 1000\nid: 1\nevent: ")
