"""Clients that take what they are sent as slowly as a test wants."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Self

import httpx
import websockets

from tests.e2e.wire import Block
from tests.support.cluster import Cluster
from tests.support.eventually import eventually_async
from tests.support.fast_engine import MODEL, FastEngine, text
from tests.support.nets import own_octet

NODE = "okome-node-03"
RECEIVE_BUFFER = 4096
# A frozen client is given up after this (seconds).
SEND_TIMEOUT = 1


@contextmanager
def fast(directory: Path, net: str, **settings: int) -> Iterator[Cluster]:
    """A cluster whose engine answers at once; `settings` beside those that it needs."""
    running = Cluster(directory, f"{net}.{own_octet()}.")
    settings |= {"streams_per_user": 1000, "max_tokens": 10_000}
    assignments = [word for pair in settings.items() for word in ("--set", "{}={}".format(*pair))]
    with FastEngine() as engine:
        try:
            running.up("--engine", engine.url, "--kind", "vllm", "--model", MODEL, *assignments)
            yield running
        finally:
            running.down()


@asynccontextmanager
async def asking(cluster: Cluster) -> AsyncIterator[Broker]:
    """A signed-in client of one of its brokers."""
    headers = {"Authorization": f"Bearer {cluster.api_key}"}
    async with httpx.AsyncClient(headers=headers, timeout=60, trust_env=False) as http:
        yield Broker(cluster, http)


class Broker:
    """One broker of a cluster with the fast engine, asked past the ingress."""

    def __init__(self, cluster: Cluster, http: httpx.AsyncClient) -> None:
        self.cluster = cluster
        self.http = http
        self.url = cluster.broker_url(NODE)

    async def start(self, tokens: int) -> str:
        """Starts a job. Returns its id."""
        job = {"model": MODEL, "prompt": "x", "max_tokens": tokens}
        response = await self.http.post(f"{self.url}/v1/jobs", json=job)
        assert response.status_code == 202, response.text
        job_id: str = response.json()["job_id"]
        return job_id

    async def finished(self, job_id: str, tokens: int) -> None:
        """Returns once the job has run to its end: nothing has held its engine."""

        async def record() -> Any:
            answer = (await self.http.get(f"{self.url}/v1/jobs/{job_id}")).json()
            return answer if answer["ended_at"] is not None else None

        ended = await eventually_async(record, within=60)
        assert ended["status"] == "completed"
        assert ended["usage"]["completion_tokens"] == tokens
        assert ended["text"] == text(tokens)

    async def rest(self, job_id: str, cursor: int) -> bytes:
        """The stream from a cursor on, as its bytes."""
        target = f"{self.url}/v1/stream?job_id={job_id}"
        answer = await self.http.get(target, headers={"Last-Event-ID": str(cursor)})
        return answer.content if answer.status_code == 200 else b""

    async def metric(self, name: str) -> float:
        """A metric's value; 0 while it has none."""
        metrics = (await self.http.get(f"{self.url}/metrics")).text
        found = [line for line in metrics.splitlines() if line.startswith(f"{name} ")]
        return float(found[0].split()[-1]) if found else 0.0

    async def evicted(self) -> float:
        """How many viewers have been given up."""
        return await self.metric('okome_broker_viewers_closed_total{reason="send_timeout"}')

    def rss(self) -> int:
        """Bytes of memory that the broker holds."""
        pid = self.cluster.node(NODE)["pid"]
        with open(f"/proc/{pid}/status", encoding="ascii") as status:
            line = next(line for line in status if line.startswith("VmRSS"))
        return int(line.split()[1]) * 1024

    def reader(
        self, job_id: str, *, room: int = RECEIVE_BUFFER, url: str | None = None
    ) -> SlowReader:
        """A client of the job's stream, at `url` or the broker, that reads when the test does."""
        return SlowReader(self, job_id, room, url or self.url)

    def websocket(self, sock: socket.socket) -> websockets.connect:
        """A WebSocket over a socket of the test's."""
        key = {"Authorization": f"Bearer {self.cluster.api_key}"}
        url = self.url.replace("http://", "ws://") + "/v1/ws"
        return websockets.connect(
            url, sock=sock, additional_headers=key, ping_interval=None, max_queue=1
        )

    def dial(self, room: int = RECEIVE_BUFFER, url: str | None = None) -> socket.socket:
        """A connection whose kernel takes little, to `url` or the broker."""
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, room)
        host, port = (url or self.url).removeprefix("http://").split(":")
        sock.connect((host, int(port)))
        sock.setblocking(False)
        return sock


class SlowReader:
    """A raw HTTP client of `/v1/stream`: `seen` is what it has read so far."""

    def __init__(self, broker: Broker, job_id: str, room: int, url: str) -> None:
        self._sock = broker.dial(room, url)
        key = broker.cluster.api_key
        self._sock.send(
            f"GET /v1/stream?job_id={job_id} HTTP/1.1\r\nHost: x\r\n"
            f"Authorization: Bearer {key}\r\n\r\n".encode()
        )
        self.seen = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._sock.close()

    async def read(self, count: int) -> bool:
        """Reads at most `count` bytes. Returns whether there were any: False at the end."""
        try:
            data = await asyncio.get_running_loop().sock_recv(self._sock, count)
        except ConnectionResetError:
            return False
        self.seen += data
        return bool(data)

    async def read_to_end(self) -> None:
        """Reads whatever is still coming."""
        async with asyncio.timeout(60):
            while await self.read(1 << 16):
                pass

    @property
    def body(self) -> bytes:
        """The bytes of the stream, out of the chunked coding."""
        return dechunked(self.seen.partition(b"\r\n\r\n")[2])


def dechunked(data: bytes) -> bytes:
    """The body as far as it is whole; of a cut chunk what is there."""
    body = b""
    while b"\r\n" in data:
        size, _, data = data.partition(b"\r\n")
        body += data[: int(size, 16)]
        data = data[int(size, 16) + 2 :]
    return body


def whole_blocks(body: bytes) -> bytes:
    """The body up to its last whole block."""
    return body[: body.rfind(b"\n\n") + 2] if b"\n\n" in body else b""


def last_id(body: bytes) -> int:
    """The cursor of who has read so much."""
    return whole_blocks(body).count(b"\n\n")


def without_retry(body: bytes) -> bytes:
    """The blocks alone."""
    return body.replace(b"retry: 1000\n", b"", 1)


def parsed(body: bytes) -> list[Block]:
    """Blocks as the other tests know them."""
    found = []
    for raw in without_retry(body).decode().strip().split("\n\n"):
        lines = dict(line.split(": ", 1) for line in raw.split("\n"))
        found.append(Block(lines.get("id"), lines["event"], lines["data"]))
    return found
