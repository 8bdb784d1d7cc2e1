"""Load as people make it: streams that are left and come back, one that is cancelled, browsers
that report, embeddings, and somebody who is refused."""

from __future__ import annotations

import asyncio
import json

import httpx

from tests.e2e.wire import MODEL, STORY

# A user has five streams at once.
STREAMS = 4


async def load(http: httpx.AsyncClient, url: str) -> None:
    """Until it is cancelled."""
    async with asyncio.TaskGroup() as group:
        for number in range(STREAMS):
            group.create_task(_chat(http, url, number))


async def _chat(http: httpx.AsyncClient, url: str, number: int) -> None:
    while True:
        try:
            await _once(http, url, number)
        except httpx.TransportError:
            continue  # A machine that is busy with other tests: as people do, try again.


async def _once(http: httpx.AsyncClient, url: str, number: int) -> None:
    body = {"model": MODEL, "prompt": STORY, "max_tokens": 40}
    made = await http.post(f"{url}/v1/jobs", json=body)
    if made.status_code != 202:
        await asyncio.sleep(0.5)
        return
    job = made.json()
    stream = f"{url}{job['stream_url']}"
    await _read(http, stream, lines=12)
    # Away in mid-answer, and back behind what it has.
    await _read(http, f"{stream}&cursor=2", lines=1000 if number else 12)
    if not number:
        await http.post(f"{url}/v1/jobs/{job['job_id']}/cancel")
        await http.get(f"{url}/v1/jobs/nNowhere", headers={"Authorization": "Bearer ok_no"})
    words = {"model": MODEL, "input": ["rice", f"rice {job['job_id']}"]}
    await http.post(f"{url}/v1/embeddings", json=words)
    report = {"job_id": job["job_id"], "ttft_ms": 120.0, "gaps_ms": [20.0, 31.0, 44.0]}
    await http.post(f"{url}/v1/telemetry", json=report | {"stalls": 0, "reconnects": 1})


async def _read(http: httpx.AsyncClient, url: str, lines: int) -> None:
    async with http.stream("GET", url) as answer:
        async for line in answer.aiter_lines():
            if (lines := lines - 1) <= 0 or _over(line):
                return


def _over(line: str) -> bool:
    if not line.startswith("data: "):
        return False
    return "usage" in json.loads(line.removeprefix("data: "))
