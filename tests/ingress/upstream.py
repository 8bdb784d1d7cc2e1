"""A tiny real server that stands for a broker or the control plane behind a real HAProxy."""

from __future__ import annotations

import asyncio
import contextlib
import json
from dataclasses import dataclass, field

from websockets.utils import accept_key


@dataclass(frozen=True)
class Seen:
    """One request as it reached the upstream."""

    method: str
    path: str
    headers: dict[str, str]


@dataclass
class Upstream:
    """Answers by path; `ready` and `alive` are what the health checks see.

    `dies` while it is asked to change something, `dies_reading` also while it is read.
    """

    name: str
    address: str
    port: int
    ready: bool = True
    alive: bool = True
    dies: bool = False
    dies_reading: bool = False
    seen: list[Seen] = field(default_factory=list)
    left: asyncio.Event = field(default_factory=asyncio.Event)
    next_event: asyncio.Event = field(default_factory=asyncio.Event)
    _server: asyncio.Server | None = None
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, self.address, self.port)

    async def stop(self) -> None:
        """As a kill: the port is closed and so is every connection."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in list(self._writers):
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            await self._answer(await self._read(reader), reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _read(self, reader: asyncio.StreamReader) -> Seen:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        first, *lines = head.strip().split("\r\n")
        headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines)}
        await reader.readexactly(int(headers.get("content-length", "0")))
        method, path, _ = first.split(" ")
        request = Seen(method, path, headers)
        if path not in ("/readyz", "/streamz") or headers.get("host") != "okome":
            self.seen.append(request)
        return request

    async def _answer(
        self, request: Seen, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        check = request.headers.get("host") == "okome"
        if (self.dies and request.method == "POST") or (self.dies_reading and not check):
            writer.transport.abort()
        elif request.headers.get("upgrade") == "websocket":
            await self._echo_upgraded(request, reader, writer)
        elif request.path.startswith("/v1/stream"):
            await self._stream(writer)
        elif request.path == "/slow":
            with contextlib.suppress(ConnectionError):
                await reader.read()
            self.left.set()
        else:
            good = {"/readyz": self.ready, "/streamz": self.alive}.get(request.path, True)
            body = json.dumps({"server": self.name}).encode()
            writer.write(
                b"HTTP/1.1 %d X\r\nContent-Type: application/json\r\nConnection: close\r\n"
                b"Content-Length: %d\r\n\r\n%b" % (200 if good else 503, len(body), body)
            )
            await writer.drain()

    async def _stream(self, writer: asyncio.StreamWriter) -> None:
        """Server-sent events, one whenever the test asks for it."""
        writer.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n"
            b"Cache-Control: no-cache, no-transform\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        for number in range(1, 1000):
            event = f"id: {number}\ndata: {self.name}\n\n".encode()
            writer.write(b"%x\r\n%b\r\n" % (len(event), event))
            await writer.drain()
            await self.next_event.wait()
            self.next_event.clear()

    async def _echo_upgraded(
        self, request: Seen, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        accept = accept_key(request.headers["sec-websocket-key"])
        writer.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            + f"Sec-WebSocket-Accept: {accept}\r\n\r\n".encode()
        )
        while data := await reader.read(1024):
            writer.write(data)
            await writer.drain()
