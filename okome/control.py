"""The supervisor's control socket: one JSON object per line, one answer per line.

The socket lies in a directory of mode 0700, so whoever can open it is its owner.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from okome.errors import OkomeError
from okome.paths import SOCKET_PATH_MAX, Paths, make_private

Handler = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]


class NotRunningError(OkomeError):
    """No supervisor answers at the control socket."""


class ControlServer:
    """Answers at the control socket until it is closed."""

    def __init__(self, handle: Handler) -> None:
        self._handle = handle
        self._server: asyncio.Server | None = None
        self._conversations: set[asyncio.Task[None]] = set()

    async def open(self, paths: Paths) -> None:
        """Listens at the control socket, in place of one that a killed supervisor left."""
        make_private(paths.runtime)
        _check_length(paths.socket)
        paths.socket.unlink(missing_ok=True)
        self._server = await asyncio.start_unix_server(self._accept, path=paths.socket)

    async def close(self) -> None:
        """Takes no more questions, and returns when every answer has been given."""
        if self._server is not None:
            self._server.close()
        if self._conversations:
            await asyncio.wait(self._conversations, timeout=2)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        conversation = asyncio.create_task(self._converse(reader, writer))
        self._conversations.add(conversation)
        conversation.add_done_callback(self._conversations.discard)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if line := await reader.readline():
                answer = await _answer(line, self._handle)
                writer.write(json.dumps(answer).encode() + b"\n")
                await writer.drain()
        except ConnectionError:
            pass  # whoever asked has left; what it asked for is done all the same
        finally:
            writer.close()


async def _answer(line: bytes, handle: Handler) -> dict[str, Any]:
    try:
        return await handle(json.loads(line))
    except OkomeError as error:
        return {"error": str(error)}


def ask(paths: Paths, question: dict[str, Any], timeout: float = 60.0) -> dict[str, Any]:
    """Asks the running supervisor. Raises NotRunningError, or OkomeError with its refusal."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(timeout)
        try:
            connection.connect(str(paths.socket))
        except OSError as error:
            raise NotRunningError(
                f"OKOME is not running (state {paths.state}); start it with `okome up`"
            ) from error
        try:
            connection.sendall(json.dumps(question).encode() + b"\n")
            with connection.makefile("rb") as stream:
                line = stream.readline()
        except OSError as error:
            raise OkomeError(
                f"OKOME runs but does not answer ({error}); see `okome logs supervisor`"
            ) from error
    if not line:
        raise OkomeError("OKOME ended before it answered; see `okome logs supervisor`")
    answer: dict[str, Any] = json.loads(line)
    if "error" in answer:
        raise OkomeError(answer["error"])
    return answer


def _check_length(path: Path) -> None:
    if len(str(path).encode()) > SOCKET_PATH_MAX:
        raise OkomeError(f"the path {path} is too long for a socket")
