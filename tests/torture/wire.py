"""HTTP/1.1 on a bare socket: a client that can be cut off anywhere, in any way."""

from __future__ import annotations

import asyncio
import json
import random
import socket
import struct
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, Literal

Cut = Literal["close", "reset"]
_CONNECT_S = 3.0
_HEAD_S = 15.0
_SILENCE_S = 40.0
# Less than a block, so that a reader may stop in the middle of one.
_PIECE = 61


class Broken(Exception):
    """The connection broke, or nothing came for too long."""


@dataclass
class Block:
    """One SSE block."""

    id: int | None = None
    event: str | None = None
    data: bytes = b""


@dataclass
class Blocks:
    """Bytes in, whole blocks out. What is not whole is forgotten with the connection."""

    rest: bytes = b""
    found: list[Block] = field(default_factory=list)

    def feed(self, data: bytes) -> list[Block]:
        """The blocks that `data` completes."""
        *whole, self.rest = (self.rest + data).split(b"\n\n")
        return [block for text in whole if (block := _block(text)).data]


def _block(text: bytes) -> Block:
    block = Block()
    for line in text.split(b"\n"):
        name, _, value = line.partition(b": ")
        if name == b"id":
            block.id = int(value)
        elif name == b"event":
            block.event = value.decode()
        elif name == b"data":
            block.data = value
    return block


class Answer:
    """The answer to one request, whose connection is the caller's to break."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self.status = 0
        self.headers: dict[str, str] = {}

    async def head(self) -> None:
        """Reads status and headers. Raises Broken."""
        async with _bound(_HEAD_S):
            head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = head.split("\r\n")
        self.status = int(first.split(" ")[1])
        pairs = (line.partition(":") for line in lines if line)
        self.headers = {name.lower(): value.strip() for name, _, value in pairs}

    async def pieces(self) -> AsyncIterator[bytes]:
        """The body as it arrives, in small pieces. Raises Broken when it has no end."""
        if self.headers.get("transfer-encoding") != "chunked":
            length = int(self.headers.get("content-length", "0"))
            async with _bound(_HEAD_S):
                yield await self._reader.readexactly(length)
            return
        while size := await self._size():
            while size:
                async with _bound(_SILENCE_S):
                    data = await self._reader.read(min(size, _PIECE))
                if not data:
                    raise Broken
                size -= len(data)
                yield data
            async with _bound(_HEAD_S):
                await self._reader.readexactly(2)

    async def _size(self) -> int:
        async with _bound(_SILENCE_S):
            return int(await self._reader.readuntil(b"\r\n"), 16)

    async def json(self) -> Any:
        """The whole body, decoded."""
        return json.loads(b"".join([piece async for piece in self.pieces()]))

    def end(self, how: Cut) -> None:
        """Closes, or resets as a vanished machine's kernel does."""
        sock: socket.socket | None = self._writer.get_extra_info("socket")
        if how == "reset" and sock is not None and sock.fileno() >= 0:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()


class _bound:  # noqa: N801  reads as a verb: `async with _bound(5)`
    """As asyncio.timeout; whatever a connection does wrong becomes Broken."""

    def __init__(self, seconds: float) -> None:
        self._timeout = asyncio.timeout(seconds)

    async def __aenter__(self) -> None:
        await self._timeout.__aenter__()

    async def __aexit__(self, kind: Any, error: Any, trace: Any) -> None:
        try:
            await self._timeout.__aexit__(kind, error, trace)
        except TimeoutError as late:
            raise Broken("nothing came") from late
        if isinstance(error, (OSError, EOFError, asyncio.LimitOverrunError, ValueError)):
            raise Broken(repr(error)) from error


async def ask(
    base: str,
    method: str,
    path: str,
    key: str,
    *,
    body: Any = None,
    headers: dict[str, str] | None = None,
) -> Answer:
    """One request on a connection of its own; the head of the answer has come. Raises Broken."""
    host, _, port = base.removeprefix("http://").partition(":")
    async with _bound(_CONNECT_S):
        reader, writer = await asyncio.open_connection(host, int(port), limit=1 << 16)
    answer = Answer(reader, writer)
    sent = {"Host": f"{host}:{port}", "Authorization": f"Bearer {key}"} | (headers or {})
    payload = b"" if body is None else json.dumps(body).encode()
    if body is not None:
        sent |= {"Content-Type": "application/json", "Content-Length": str(len(payload))}
    lines = [f"{method} {path} HTTP/1.1", *(f"{n}: {v}" for n, v in sent.items()), "", ""]
    try:
        writer.write("\r\n".join(lines).encode() + payload)
        await answer.head()
    except BaseException:
        answer.end("close")
        raise
    return answer


def any_cut() -> Cut:
    """One or the other."""
    return random.choice(("close", "reset"))
