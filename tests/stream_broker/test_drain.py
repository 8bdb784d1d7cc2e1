from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from unittest.mock import patch

from stream_broker import app
from tests.proof.requests import Request
from tests.proof.twin import Twin, cluster_without_log

JOB = {"model": "small", "prompt": "hi"}


@asynccontextmanager
async def draining(state: Path, notice: float) -> AsyncIterator[tuple[Twin, asyncio.Task[None]]]:
    """A broker that has been told to drain."""
    twin = Twin("okome-node-03", cluster_without_log(), state, None)
    await twin.start()
    with patch.object(app, "_NOTICED_S", notice):
        drain = asyncio.create_task(twin.broker.drain())
        await asyncio.sleep(0)
        yield twin, drain
    drain.cancel()
    await asyncio.gather(drain, return_exceptions=True)
    await twin.stop()


async def answered(request: Request) -> Request:
    await request.ended()
    return request


async def test_until_the_ingress_has_seen_it_a_draining_broker_turns_nobody_away(
    tmp_path: Path,
) -> None:
    async with draining(tmp_path, notice=3600) as (twin, _):
        ready = await answered(twin.get("/readyz"))
        created = await twin.post("/v1/jobs", JOB)
        stream = twin.get(f"/v1/stream?job_id={created.json()['job_id']}")
        twin.broker.runner.cancel(created.json()["job_id"], "client")
        await stream.until(b"job_cancelled")

    assert ready.status == 503
    assert created.status == 202


async def test_then_it_takes_nothing_new_and_ends_when_nothing_is_left(tmp_path: Path) -> None:
    async with draining(tmp_path, notice=0.001) as (twin, drain):
        async with asyncio.timeout(5):
            await drain
        created = await twin.post("/v1/jobs", JOB)

    assert (created.status, created.json()["code"]) == (503, "draining")
