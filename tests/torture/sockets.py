"""Clients of the WebSocket: many jobs on one connection, cut and resumed on any broker."""

from __future__ import annotations

import asyncio
import json
import os
import random
import socket
import struct
from typing import Any

import websockets
from websockets.asyncio.client import ClientConnection, connect

from tests.torture.book import TERMINAL, Job
from tests.torture.readers import pause
from tests.torture.site import PROMPT, Site

JOBS = 4
MEAN_MESSAGES = 60.0
MEAN_S = 2.0
_DATA = b',"data":'
_DRAINING = 1012


class Wanted:
    """One job of a connection: what was asked, and how far it has been seen."""

    def __init__(self, body: dict[str, Any]) -> None:
        self.body = body
        self.key = os.urandom(8).hex()
        self.ref = os.urandom(4).hex()
        self.job: Job | None = None
        self.cursor = 0


class SocketClient:
    """Keeps some jobs going on one connection at a time."""

    kind = "websocket"

    def __init__(self, site: Site, number: int) -> None:
        self.site = site
        self.name = f"{self.kind}-{number}"
        self.book = site.book
        self._wanted: list[Wanted] = []

    async def run(self) -> None:
        """Until the site closes."""
        while not self.site.closing.is_set():
            while len(self._wanted) < JOBS:
                self._wanted.append(Wanted(self.site.request() | {"prompt": PROMPT}))
            try:
                await self._connection()
            except websockets.ConnectionClosed as closed:
                drained = closed.rcvd is not None and closed.rcvd.code == _DRAINING
                name = "ended without an end" if drained else "connections that broke"
                self.book.counts[name] += 1
            except (OSError, TimeoutError, websockets.WebSocketException):
                self.book.counts["connections that broke"] += 1
                await pause()

    async def _connection(self) -> None:
        # A job that lives in one broker's memory is to be read there only.
        homes = [wanted.job for wanted in self._wanted if wanted.job is not None]
        alone = next((job for job in homes if job.only_at_home), None)
        base = self.site.place_for(alone) if alone else self.site.anywhere()
        async with connect(
            base.replace("http://", "ws://") + "/v1/ws",
            additional_headers={"Authorization": f"Bearer {self.site.key}"},
            subprotocols=[websockets.Subprotocol("okome.v1")],
            open_timeout=5,
            close_timeout=0.1,
            ping_interval=None,
            compression=None,
            proxy=None,
        ) as ws:
            self.book.counts[f"connections {self.kind}"] += 1
            self.book.counts["reconnects"] += bool(homes)
            for wanted in self._wanted:
                await ws.send(json.dumps(_operation(wanted)))
            try:
                async with asyncio.timeout(self._patience()):
                    await self._read(ws)
            except TimeoutError:
                self.book.counts["cut in silence"] += 1
            _drop(ws)

    def _patience(self) -> float | None:
        return random.expovariate(1 / MEAN_S) if self.site.cuts else None

    async def _read(self, ws: ClientConnection) -> None:
        left = random.expovariate(1 / MEAN_MESSAGES) if self.site.cuts else float("inf")
        while self._wanted and left > 0 and not self.site.closing.is_set():
            raw = await ws.recv(decode=False)
            assert isinstance(raw, bytes)
            self._message(raw)
            left -= 1
        self.book.counts["cut"] += 1

    def _message(self, raw: bytes) -> None:
        said = json.loads(raw)
        name = said["event"]
        if name == "created":
            self._created(said)
        elif name == "error":
            self._refused(said)
        elif name == "ended":
            self._ended(said)
        elif "seq" not in said:
            self.book.violation("not_of_the_log", f"{self.name}: {raw!r}")
        else:
            wanted = self._of(said["job_id"])
            if wanted is None or wanted.job is None:
                self.book.violation("unasked", f"{self.name}: {raw!r}")
                return
            data = raw[raw.index(_DATA) + len(_DATA) : -1]
            self.book.native(wanted.job, wanted.cursor, said["seq"], name, data, self.name)
            wanted.cursor = said["seq"]
            if name in TERMINAL:
                self._over(wanted)

    def _created(self, said: dict[str, Any]) -> None:
        for wanted in self._wanted:
            if wanted.ref == said["ref"]:
                tokens = wanted.body["max_tokens"]
                wanted.job = self.site.begin(said["job_id"], self.kind, tokens)

    def _ended(self, said: dict[str, Any]) -> None:
        wanted = self._of(said["job_id"])
        if wanted is None:
            return
        if wanted.cursor != said["last_seq"]:
            self.book.violation("lost", f"{self.name}: at {wanted.cursor}, told {said}")
        self._over(wanted)

    def _refused(self, said: dict[str, Any]) -> None:
        """Not now: the next connection asks again. For good: nobody's job any more."""
        status, code = said["data"]["status"], said["data"]["code"]
        if status in (429, 503):
            self.book.counts[f"told to wait {status}"] += 1
            if "ref" not in said and "job_id" not in said:
                self.book.violation("nameless_error", f"{self.name}: {said}")
            return
        wanted = self._of(said.get("job_id", ""))
        at_home = wanted is not None and wanted.job is not None and wanted.job.only_at_home
        if not at_home:
            self.book.violation("refused", f"{self.name}: {code}: {said}")
        if wanted is not None:
            self._over(wanted)

    def _over(self, wanted: Wanted) -> None:
        self._wanted.remove(wanted)
        if wanted.job is not None:
            self.site.over(wanted.job)

    def _of(self, job_id: str) -> Wanted | None:
        return next((w for w in self._wanted if w.job and w.job.job_id == job_id), None)


def _operation(wanted: Wanted) -> dict[str, Any]:
    if wanted.job is None:
        job = {"op": "create", "ref": wanted.ref, "job": wanted.body}
        # The key makes it the same job, however often the answer was cut off.
        wanted.cursor = 0
        return job | {"idempotency_key": wanted.key}
    wanted.cursor = random.choice((wanted.cursor, random.randint(0, wanted.cursor)))
    return {"op": "resume", "job_id": wanted.job.job_id, "cursor": wanted.cursor}


def _drop(ws: ClientConnection) -> None:
    """As a lid that closes: sometimes with a reset, never with a word."""
    sock: socket.socket | None = ws.transport.get_extra_info("socket")
    if random.random() < 0.5 and sock is not None and sock.fileno() >= 0:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    ws.transport.abort()
