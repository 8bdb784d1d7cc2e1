"""A tool's HTTP server that answers each path in a way of its own."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote, urlsplit

MUCH = 10 << 20


@dataclass
class Asked:
    """A request that came."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def query(self) -> dict[str, str]:
        return dict(parse_qsl(urlsplit(self.target).query))

    @property
    def path(self) -> str:
        return unquote(urlsplit(self.target).path)


@dataclass
class ScriptedTool:
    """`asked` are the requests so far; `hold` keeps `/never` from ending."""

    port: int = 0
    asked: list[Asked] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One request a connection."""
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            method, target, _ = head[0].split(" ")
            pairs = (line.partition(": ") for line in head[1:] if line)
            headers = {name.lower(): value for name, _, value in pairs}
            body = await reader.readexactly(int(headers.get("content-length", 0)))
            asked = Asked(method, target, headers, body)
            self.asked.append(asked)
            await self._answer(asked, reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _answer(
        self, asked: Asked, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        status, media, body, more = "200 OK", "application/json", b'{"ok": true}', ""
        match asked.path.strip("/").split("/")[0]:
            case "never":
                await reader.read()
                return
            case "much":
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n")
                for _ in range(MUCH >> 16):
                    writer.write(b"x" * (1 << 16))
                    await writer.drain()
                return
            case "announced":
                body = b"x" * (1 << 20)
            case "packed":
                more = "Content-Encoding: gzip\r\n"
            case "not-json":
                body = b'{"ok": tru'
            case "not-utf8":
                media, body = "text/plain", b"\xff\xfe\xfa"
            case "picture":
                media = "image/png"
            case "html":
                media, body = "text/html", b"<script>alert(1)</script>"
            case "broken":
                status, media, body = "500 Oops", "text/plain", b"it broke"
            case "elsewhere":
                status, more = "302 Found", "Location: /inside\r\n"
            case "empty":
                status, body = "204 No Content", b""
            case "not-http":
                writer.write(b"hello\r\n\r\n")
                return
            case "cut":
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nhalf")
                return
            case "echo":
                body = json.dumps({"query": asked.query, "body": asked.body.decode()}).encode()
        head = f"HTTP/1.1 {status}\r\nContent-Type: {media}\r\n{more}Content-Length: {len(body)}"
        writer.write(head.encode() + b"\r\nConnection: close\r\n\r\n" + body)
        await writer.drain()


@asynccontextmanager
async def scripted_tool() -> AsyncIterator[ScriptedTool]:
    """The server, on a port of its own."""
    tool = ScriptedTool()
    server = await asyncio.start_server(tool.serve, "127.0.0.1", 0)
    tool.port = server.sockets[0].getsockname()[1]
    async with server:
        yield tool
