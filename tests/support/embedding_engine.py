"""An engine of embeddings whose vectors follow from the text, and which does as it is told.

It speaks `/v1/embeddings` (vLLM, llama.cpp) and `/api/embed` (Ollama) in this process.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import re
import struct
from types import TracebackType
from typing import Any

from contracts.grants import EngineKind, EngineTarget

DIMENSIONS = 8


def vector(item: Any, dimensions: int = DIMENSIONS) -> list[float]:
    """The embedding of a text or a token list: exact in float32."""
    digest = hashlib.sha256(json.dumps(item).encode()).digest()
    return [(digest[n % 32] - 128) / 256 for n in range(dimensions)]


def tokens(item: Any) -> int:
    """What it counts for an item: its characters, or its tokens."""
    return len(item)


class EmbeddingEngine:
    """`async with EmbeddingEngine() as engine`. `calls`: the bodies of all calls so far; while
    `open` is cleared nobody is answered; `status` and `body` in place of an answer; texts that
    hold `poison` are refused. `left`: calls whose client went away."""

    def __init__(self) -> None:
        self.calls: list[dict[str, Any]] = []
        self.open = asyncio.Event()
        self.open.set()
        self.status = 200
        self.body: bytes | None = None
        self.poison = "\0"
        self.honours_dimensions = True
        self.counts = True
        self.left = 0
        self._tasks: set[asyncio.Task[None]] = set()

    def target(self, kind: EngineKind = "vllm", model: str = "e") -> EngineTarget:
        """Where it listens."""
        return EngineTarget(kind=kind, base_url=f"http://127.0.0.1:{self.port}", model=model)

    @property
    def sizes(self) -> list[int]:
        """How many items each call had."""
        return [len(call["input"]) for call in self.calls]

    async def __aenter__(self) -> EmbeddingEngine:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def close(self) -> None:
        """Refuses connections from now on, and cuts those that are open."""
        self._server.close()
        for task in self._tasks:
            task.cancel()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                found = re.search(rb"content-length: *(\d+)", head, re.IGNORECASE)
                assert found is not None
                call = json.loads(await reader.readexactly(int(found[1])))
                self.calls.append(call)
                await self._wait(reader)
                status, body = self._answer(b"/api/embed" in head.split(b"\r\n")[0], call)
                lines = b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n" % (status, len(body))
                writer.write(lines + body)
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # The client may leave at any time.
        finally:
            writer.close()

    async def _wait(self, reader: asyncio.StreamReader) -> None:
        if self.open.is_set():
            return
        leaving = asyncio.ensure_future(reader.read(1))
        opened = asyncio.ensure_future(self.open.wait())
        try:
            await asyncio.wait({leaving, opened}, return_when=asyncio.FIRST_COMPLETED)
            if leaving.done():
                self.left += 1
                raise ConnectionError
        finally:
            leaving.cancel()
            opened.cancel()

    def _answer(self, ollama: bool, call: dict[str, Any]) -> tuple[int, bytes]:
        if self.body is not None:
            return self.status, self.body
        items = call["input"]
        if any(self.poison in item for item in items if isinstance(item, str)):
            error = {"message": "input (5000 tokens) is too large to process"}
            return 400, json.dumps({"error": error}).encode()
        asked = call.get("dimensions") if self.honours_dimensions else None
        vectors = [vector(item, asked or DIMENSIONS) for item in items]
        count = sum(tokens(item) for item in items)
        if ollama:
            told = {"embeddings": vectors} | ({"prompt_eval_count": count} if self.counts else {})
            return 200, json.dumps(told).encode()
        data = [
            {"object": "embedding", "index": n, "embedding": _as_asked(one, call)}
            for n, one in enumerate(vectors)
        ]
        usage = {"usage": {"prompt_tokens": count}} if self.counts else {}
        # In any order: the index says which is which.
        return 200, json.dumps({"data": data[::-1]} | usage).encode()


def _as_asked(numbers: list[float], call: dict[str, Any]) -> Any:
    if call.get("encoding_format") != "base64":
        return numbers
    return base64.b64encode(struct.pack(f"<{len(numbers)}f", *numbers)).decode()
