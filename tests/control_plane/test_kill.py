"""Killed in the middle of grants: nobody gets more than the quota, and nothing leaks."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import URL

from tests.control_plane.harness import API_KEY, SERVICE_KEY, settlement
from tests.support.control_process import MODEL, ControlProcess, HealthyEngine
from tests.support.eventually import eventually_async

QUOTA, EACH = 20_000, 100
SERVICE = {"Authorization": f"Bearer {SERVICE_KEY}"}
# Tokens whose settlement never comes stay set aside for the sum of both.
SHORT = ("lease_ttl=2", "job_deadline=2")


@pytest.fixture
def control(tmp_path: Path, url: URL) -> Iterator[ControlProcess]:
    engine = HealthyEngine()
    database = url if url.get_backend_name() == "postgresql" else None
    control = ControlProcess(tmp_path, engine.port, database)
    yield control
    control.kill()
    engine.close()


@asynccontextmanager
async def calling(control: ControlProcess) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=control.url, trust_env=False, timeout=10) as client:
        yield client


async def ask(client: httpx.AsyncClient) -> httpx.Response:
    question = {
        "model": MODEL, "kind": "job", "prompt_tokens_estimate": 10, "max_tokens": EACH - 10,
    }  # fmt: skip
    body = {"credential": API_KEY, "node": "n03w0", "request": question}
    return await client.post("/internal/v1/grants", headers=SERVICE, json=body)


async def settle(client: httpx.AsyncClient, grant: dict[str, Any]) -> None:
    body = settlement(
        job_id=f"of-{grant['grant_id']}",
        grant_id=grant["grant_id"],
        lease_id=grant["lease"]["id"],
        usage={"prompt_tokens": 10, "completion_tokens": 10},
        created_at=time.time(),
    )
    answer = await client.post("/internal/v1/settlements", headers=SERVICE, json=body)
    assert answer.status_code == 204


async def taken(client: httpx.AsyncClient) -> int:
    answer = await client.get("/v1/quota", headers={"Authorization": f"Bearer {API_KEY}"})
    tokens: int = answer.json()["tokens"]["month"]["taken"]
    return tokens


async def granted_until_killed(control: ControlProcess) -> list[dict[str, Any]]:
    """What callers were told, while others were still asking."""
    granted: list[dict[str, Any]] = []
    async with calling(control) as client:

        async def go_on() -> None:
            while True:
                try:
                    answer = await ask(client)
                except httpx.HTTPError:
                    return
                if answer.status_code == 200:
                    granted.append(answer.json())

        callers = [asyncio.create_task(go_on()) for _ in range(16)]
        await eventually_async(lambda: len(granted) >= 60)
        control.kill()
        await asyncio.gather(*callers)
    return granted


async def test_a_kill_in_the_middle_neither_overruns_nor_leaks(control: ControlProcess) -> None:
    await control.allow(time.time(), streams=10_000, tokens_month=QUOTA)
    control.start("lease_ttl=60")
    before = await granted_until_killed(control)
    control.start("lease_ttl=60")
    async with calling(control) as client:
        held = await taken(client)
        # Also what was kept and not answered any more: at most one for each caller.
        assert len(before) * EACH <= held <= (len(before) + 16) * EACH
        leases = [grant["lease"]["id"] for grant in before]
        renewed = await client.post(
            "/internal/v1/leases/renew", headers=SERVICE, json={"ids": leases}
        )
        assert renewed.json() == {"unknown": []}
        after: list[dict[str, Any]] = []
        while (answer := await ask(client)).status_code == 200:
            after.append(answer.json())
        assert answer.json()["code"] == "quota_exceeded"
        reserved = sum(grant["reservation"]["tokens"] for grant in before + after)
        assert reserved <= QUOTA == await taken(client)
        await asyncio.gather(*(settle(client, grant) for grant in before + after))
        assert await taken(client) == 20 * len(before + after) + QUOTA - reserved


async def test_what_a_killed_process_held_comes_back(control: ControlProcess) -> None:
    await control.allow(time.time(), streams=100, tokens_month=QUOTA)
    control.start(*SHORT)
    granted = await granted_until_killed(control)
    control.start(*SHORT)
    control.kill()
    for_good = time.time() + 4
    await eventually_async(lambda: time.time() > for_good, within=10)
    control.start(*SHORT)
    async with calling(control) as client:
        assert granted

        async def nothing_is_held() -> bool:
            return await taken(client) == 0

        await eventually_async(nothing_is_held)
        assert (await ask(client)).status_code == 200
