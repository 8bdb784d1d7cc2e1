"""An engine that does what a test tells it, byte by byte, over real TCP."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from types import TracebackType

from contracts.grants import EngineKind, EngineTarget

SSE_HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
)
END = b"0\r\n\r\n"


def chunk(data: bytes) -> bytes:
    """One chunk of the chunked transfer coding."""
    return b"%x\r\n%s\r\n" % (len(data), data)


def answer(status: str, body: bytes, *headers: str) -> bytes:
    """A whole answer with a length."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


class Peer:
    """The engine's side of one connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def request(self) -> bytes:
        """Reads one request, head and body."""
        head = await self._reader.readuntil(b"\r\n\r\n")
        length = next(
            int(line.split(b":")[1])
            for line in head.split(b"\r\n")
            if line.lower().startswith(b"content-length:")
        )
        return head + await self._reader.readexactly(length)

    async def send(self, *pieces: bytes) -> None:
        """Sends the pieces in one write; waits until they are on their way."""
        self._writer.write(b"".join(pieces))
        await self._writer.drain()

    async def gone(self) -> None:
        """Waits until the client has closed."""
        try:
            while await self._reader.read(1 << 16):
                pass
        except ConnectionError:
            pass

    def reset(self) -> None:
        """Closes with a TCP reset, as the kernel does for a process that left bytes unread."""
        self._writer.transport.abort()

    def close(self) -> None:
        """Closes in order."""
        self._writer.close()


Script = Callable[[Peer], Awaitable[None]]


class ScriptedEngine:
    """Serves one script a connection, in order; the last one again and again.

    `async with ScriptedEngine(script, ...) as engine`; a connection is closed when its
    script returns. `connections` counts them, and an exception of a script is raised at
    the end.
    """

    def __init__(self, *scripts: Script, tls: ssl.SSLContext | None = None) -> None:
        self._scripts = scripts
        self._tls = tls
        self._tasks: set[asyncio.Task[None]] = set()
        self._failed: list[BaseException] = []
        self.connections = 0

    def target(self, kind: EngineKind = "vllm") -> EngineTarget:
        """Where it listens."""
        scheme = "https" if self._tls else "http"
        return EngineTarget(kind=kind, base_url=f"{scheme}://127.0.0.1:{self.port}", model="m")

    async def __aenter__(self) -> ScriptedEngine:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._tls)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    def close_port(self) -> None:
        """Takes no connections any more; those that are open stay so."""
        self._server.close()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._failed and error is None:
            raise self._failed[0]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        script = self._scripts[min(self.connections, len(self._scripts) - 1)]
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            await script(Peer(reader, writer))
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # The client may leave at any time.
        except Exception as error:
            self._failed.append(error)
        finally:
            writer.close()
