"""Engines over real sockets that answer as told, or not at all."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

Reply = tuple[int, bytes] | None  # None: it never answers


class FakeEngine:
    """One server. `replies` by path; others are 404. `asked` holds (method, path, body)."""

    def __init__(self, replies: dict[str, Reply]) -> None:
        self.replies = replies
        self.asked: list[tuple[str, str, bytes]] = []
        self.url = ""
        self.server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    @asynccontextmanager
    async def serving(self, port: int = 0) -> AsyncIterator[FakeEngine]:
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", port)
        self.url = f"http://127.0.0.1:{self.server.sockets[0].getsockname()[1]}"
        try:
            yield self
        finally:
            await self.stop()

    async def stop(self) -> None:
        """Refuses from now on, and cuts what is open."""
        assert self.server is not None
        self.server.close()
        for writer in self._writers:
            writer.close()
        await self.server.wait_closed()

    def count(self, path: str) -> int:
        return sum(asked == path for _, asked, _ in self.asked)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                method, path, _ = head.split(" ", 2)
                length = next(
                    (int(line.partition(":")[2]) for line in head.lower().split("\r\n")
                     if line.startswith("content-length")), 0,
                )  # fmt: skip
                body = await reader.readexactly(length)
                self.asked.append((method, path, body))
                reply = self.replies.get(path, (404, b"not found"))
                if reply is None:
                    await reader.read()  # until it is cut
                    return
                status, content = reply
                writer.write(
                    f"HTTP/1.1 {status} X\r\nContent-Length: {len(content)}\r\n\r\n".encode()
                    + content
                )
                await writer.drain()
        except (asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError):
            pass  # cancelled only when the loop ends
        finally:
            self._writers.discard(writer)
            writer.close()


def replied(value: object) -> tuple[int, bytes]:
    return 200, json.dumps(value).encode()


TEXT = b'data: {"choices":[{"delta":{"content":"x"},"finish_reason":"length"}]}\n\n'
LIE = b'data: {"error":{"message":"EngineCore encountered an issue."}}\n\ndata: [DONE]\n\n'


def vllm(model: str = "m", waiting: int = 0) -> dict[str, Reply]:
    """A vLLM that is well."""
    return {
        "/health": (200, b""),
        "/v1/models": replied({"data": [{"id": model, "max_model_len": 2048}]}),
        "/metrics": (200, f"vllm:num_requests_waiting {waiting}\n".encode()),
        "/v1/chat/completions": (200, TEXT),
    }
