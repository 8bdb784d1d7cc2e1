"""The WebSocket of a whole broker; what it answers otherwise is in `tests/conformance`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
from websockets.asyncio.client import connect

from tests.conformance.targets import served
from tests.proof.twin import Twin, cluster_at, cluster_without_log
from tests.stream_broker.building import API_KEY, JOB
from tests.support.chaos_proxy import ChaosProxy
from tests.support.redis_server import RedisServer


async def test_a_job_whose_log_is_away_is_named(redis_server: RedisServer, tmp_path: Path) -> None:
    async with ChaosProxy(redis_server.host, redis_server.port) as proxy:
        twin = Twin("okome-node-03", cluster_at(proxy.host, proxy.port), tmp_path, proxy)
        async with served(twin) as url:
            proxy.set("cut")
            async with connect(
                url.replace("http://", "ws://") + "/v1/ws",
                additional_headers={"Authorization": f"Bearer {API_KEY}"},
                proxy=None,
            ) as ws:
                await ws.send(json.dumps({"op": "resume", "job_id": JOB, "cursor": 0}))
                told: dict[str, Any] = json.loads(await ws.recv())

    assert (told["event"], told["job_id"]) == ("error", JOB)
    assert (told["data"]["status"], told["data"]["code"]) == (503, "log_unavailable")


async def test_a_binary_message_is_refused_and_the_connection_stays(tmp_path: Path) -> None:
    async with (
        served(Twin("okome-node-03", cluster_without_log(), tmp_path, None)) as url,
        connect(
            url.replace("http://", "ws://") + "/v1/ws",
            additional_headers={"Authorization": f"Bearer {API_KEY}"},
            proxy=None,
        ) as ws,
    ):
        await ws.send(b'{"op":"ping"}')
        told = json.loads(await ws.recv())
        await ws.send('{"op":"ping"}')
        assert json.loads(await ws.recv()) == {"event": "pong"}

    assert (told["event"], told["data"]["code"]) == ("error", "invalid_request")


async def test_who_asks_without_an_upgrade_is_told_what_this_is(tmp_path: Path) -> None:
    twin = Twin("okome-node-03", cluster_without_log(), tmp_path, None)
    async with served(twin) as url, httpx.AsyncClient(trust_env=False) as http:
        answer = await http.get(f"{url}/v1/ws")
        other = await http.post(f"{url}/v1/ws")

    assert (answer.status_code, answer.json()["code"]) == (426, "upgrade_required")
    assert answer.headers["upgrade"] == "websocket"
    assert "upgrade" in answer.headers["connection"].lower()
    assert (other.status_code, set(other.headers["allow"].split(", "))) == (405, {"GET", "HEAD"})
