"""A small independent client of the native API, for end-to-end tests."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx

from tests.support.cluster import Cluster

MODEL = "smollm2:135m"
STORY = "Write a very long story about a fox and a river."


@dataclass(slots=True)
class Block:
    """One event as its bytes said it."""

    id: str | None = None
    event: str = "message"
    data: str = ""

    @property
    def body(self) -> dict[str, Any]:
        decoded: dict[str, Any] = json.loads(self.data)
        return decoded


async def blocks(response: httpx.Response) -> AsyncIterator[Block]:
    """The events of a stream; comments and `retry` are passed over."""
    block = Block()
    async for line in response.aiter_lines():
        name, _, value = line.partition(": ")
        if not line:
            if block.data:
                yield block
            block = Block()
        elif name in ("id", "event", "data"):
            setattr(block, name, value)


@dataclass
class Reader:
    """Reads a job to its end, coming back whenever it is cut off."""

    http: httpx.AsyncClient
    url: str
    job_id: str
    seen: list[Block] = field(default_factory=list)
    connections: int = 0
    nodes: list[str] = field(default_factory=list)

    async def read(self, until: int | None = None) -> list[Block]:
        """Reads on, to the end or until `until` events are known."""
        while True:
            try:
                if await self._once(until):
                    return self.seen
            except httpx.TransportError:
                continue

    async def _once(self, until: int | None) -> bool:
        cursor = self.seen[-1].id if self.seen else None
        headers = {"Last-Event-ID": cursor} if cursor else {}
        self.connections += 1
        target = f"{self.url}/v1/stream?job_id={self.job_id}&heartbeat=2"
        async with self.http.stream("GET", target, headers=headers) as response:
            if response.status_code == 204:
                return True
            if response.status_code >= 500:
                return False
            assert response.status_code == 200, await response.aread()
            self.nodes.append(response.headers["x-okome-node"])
            async for block in blocks(response):
                self.seen.append(block)
                if block.event in ("job_complete", "job_error", "job_cancelled"):
                    return True
                if until is not None and len(self.seen) >= until:
                    return True
        return False


@asynccontextmanager
async def signed_in(cluster: Cluster) -> AsyncIterator[httpx.AsyncClient]:
    """A client with the API key of the cluster's built-in user."""
    headers = {"Authorization": f"Bearer {cluster.api_key}"}
    async with httpx.AsyncClient(headers=headers, timeout=60, trust_env=False) as http:
        yield http


async def start(http: httpx.AsyncClient, url: str, tokens: int, **members: Any) -> str:
    """Starts a job. Returns its id."""
    job = {"model": MODEL, "prompt": STORY, "max_tokens": tokens} | members
    response = await http.post(f"{url}/v1/jobs", json=job)
    assert response.status_code == 202, response.text
    job_id: str = response.json()["job_id"]
    return job_id


def numbered(seen: list[Block]) -> bool:
    """Are the numbers 1, 2, 3 … without a gap or a repetition?"""
    return [block.id for block in seen] == [str(n) for n in range(1, len(seen) + 1)]


def text_of(seen: list[Block]) -> str:
    """All that was said, without the thinking."""
    tokens = [block.body for block in seen if block.event == "token"]
    return "".join(body["token"] for body in tokens if "token" in body)


def notices(seen: list[Block]) -> list[str]:
    """The codes of what the client was told, in order."""
    return [block.body["code"] for block in seen if block.event == "notice"]
