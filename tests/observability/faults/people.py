"""Who uses the cluster meanwhile: those who read as they should, and those who do not."""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from typing import Final
from urllib.parse import urlsplit

import httpx

from tests.support.synthetic_engine import MODEL
from tests.torture.watching import Stream

PEOPLE: Final = 8
TOKENS: Final = 150
_AGAIN_S: Final = 0.5
# A client's kernel that takes little.
_ROOM: Final = 4096


async def people(http: httpx.AsyncClient, url: str) -> None:
    """Eight who ask again and again and read each answer to its end, until cancelled."""
    async with asyncio.TaskGroup() as group:
        for _ in range(PEOPLE):
            group.create_task(_person(http, url))


async def _person(http: httpx.AsyncClient, url: str) -> None:
    while True:
        try:
            job_id = await ask(http, url, TOKENS)
        except httpx.HTTPError:
            await asyncio.sleep(_AGAIN_S)
            continue
        with suppress(TimeoutError):
            async with asyncio.timeout(120):
                await Stream(job_id, url).follow(http)


async def ask(http: httpx.AsyncClient, url: str, tokens: int) -> str:
    """Starts a job. Returns its id; raises httpx.HTTPError."""
    # Somebody else each time: the ingress' cookie would send all of them to one broker.
    http.cookies.clear()
    body = {"model": MODEL, "prompt": "Count.", "max_tokens": tokens}
    made = (await http.post(f"{url}/v1/jobs", json=body)).raise_for_status()
    job_id: str = made.json()["job_id"]
    return job_id


class SlowClient:
    """A browser's socket that takes `pace` bytes a second of a job's stream: 0 is none at all."""

    def __init__(self, url: str, job_id: str, key: str, pace: int) -> None:
        self._sock = socket.socket()
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _ROOM)
        parts = urlsplit(url)
        self._sock.connect((str(parts.hostname), parts.port))
        head = f"GET /v1/stream?job_id={job_id} HTTP/1.1\r\nHost: x\r\n"
        self._sock.sendall(f"{head}Authorization: Bearer {key}\r\n\r\n".encode())
        self._sock.setblocking(False)
        self._pace = pace

    async def read(self) -> None:
        """Until cancelled, or cut off; the socket is closed then."""
        loop = asyncio.get_running_loop()
        try:
            if not self._pace:
                await asyncio.Event().wait()
            while True:
                if not await loop.sock_recv(self._sock, self._pace):
                    return
                await asyncio.sleep(1)
        except ConnectionError:
            pass  # Cut off, as it has to be.
        finally:
            self._sock.close()
