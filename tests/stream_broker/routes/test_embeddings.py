"""The route: what becomes of callers that leave, and of engines that fail."""

from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace
from typing import Any

import pytest
from starlette.applications import Starlette

from inventory.settings import Settings
from stream_broker.authn import Principal
from stream_broker.embeddings.request import EmbeddingSpec
from stream_broker.embeddings.service import Embedded
from stream_broker.embeddings.vectors import Vector
from stream_broker.embeddings.wire import EngineFailed
from stream_broker.engines import failures
from stream_broker.routes.embeddings import embedding_routes
from tests.stream_broker.building import API_KEY, USER

ALICE = Principal(USER, "free", ("generate",), API_KEY)
HALF = Vector(b"\x00\x00\x00\x3f" * 4, 2)


class Embedder:
    """Answers what the test says, once it is `open`."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.open.set()
        self.asked = asyncio.Event()
        self.cancelled = False
        self.failure: Exception | None = None

    async def embed(self, _: Principal, spec: EmbeddingSpec) -> Embedded:
        self.asked.set()
        try:
            await self.open.wait()
        except asyncio.CancelledError:
            self.cancelled = True
            raise
        if self.failure is not None:
            raise self.failure
        return Embedded("small", [HALF] * len(spec.items))


class Call:
    """One request to the route; `leave` is its client's."""

    def __init__(self, embedder: Embedder, **body: Any) -> None:
        async def authenticate(*_: Any, **__: Any) -> Principal:
            return ALICE

        context: Any = SimpleNamespace(
            authenticate=authenticate, settings=Settings(), embedder=embedder, node="node-3"
        )
        self._body = json.dumps({"model": "small", "input": "a"} | body).encode()
        self._left = asyncio.Event()
        self._given = False
        self.sent: list[dict[str, Any]] = []
        scope = {
            "type": "http",
            "method": "POST",
            "path": "/v1/embeddings",
            "headers": [(b"content-type", b"application/json")],
            "query_string": b"",
        }
        app: Any = Starlette(routes=embedding_routes(context))
        self.task = asyncio.create_task(app(scope, self._receive, self._send))

    async def _receive(self) -> dict[str, Any]:
        if not self._given:
            self._given = True
            return {"type": "http.request", "body": self._body, "more_body": False}
        await self._left.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: dict[str, Any]) -> None:
        self.sent.append(message)

    def leave(self) -> None:
        self._left.set()

    async def answer(self) -> tuple[int, dict[str, str], Any]:
        """Status, headers and body."""
        async with asyncio.timeout(5):
            await self.task
        head, *rest = self.sent
        headers = {name.decode(): value.decode() for name, value in head["headers"]}
        body = b"".join(part.get("body", b"") for part in rest)
        return head["status"], headers, json.loads(body) if body else None


async def test_an_answer_has_the_api_s_shape() -> None:
    status, headers, body = await Call(Embedder(), input=["a", "b"] * 20).answer()
    assert status == 200
    assert headers["content-type"] == "application/json"
    assert headers["x-okome-node"] == "node-3"
    assert body["data"][39] == {"object": "embedding", "index": 39, "embedding": [0.5] * 4}
    assert (body["object"], body["model"], len(body["data"])) == ("list", "small", 40)
    assert body["usage"] == {"prompt_tokens": 80, "total_tokens": 80}


async def test_who_leaves_is_not_computed_for() -> None:
    embedder = Embedder()
    embedder.open.clear()
    call = Call(embedder)
    await embedder.asked.wait()
    call.leave()
    assert (await call.answer())[0] == 499
    assert embedder.cancelled


@pytest.mark.parametrize(
    ("failure", "status", "code"),
    [
        (failures.unreachable(), 503, "engine_unreachable"),
        (failures.stalled(), 502, "engine_stalled"),
        (failures.unreadable(), 502, "engine_error"),
    ],
)
async def test_an_engine_that_fails_is_told(failure: Any, status: int, code: str) -> None:
    embedder = Embedder()
    embedder.failure = EngineFailed(failure)
    told, headers, body = await Call(embedder).answer()
    assert (told, body["error"]["code"]) == (status, code)
    assert body["error"]["type"] == "server_error"
    assert ("retry-after" in headers) == (status == 503)
