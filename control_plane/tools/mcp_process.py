"""An MCP server as a process of ours, spoken to over its standard input and output.

The SDK's own transport keeps a line of any length in memory; this one ends a server whose
line is too long, and leaves everything else about the protocol to the SDK.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from asyncio.subprocess import PIPE, Process
from collections.abc import Sequence
from contextlib import suppress
from types import TracebackType
from typing import Final, TypeAlias

import anyio
from anyio.abc import AsyncResource
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp.client._transport import TransportStreams
from mcp.client.stdio import get_default_environment
from mcp.shared.message import SessionMessage
from mcp_types import jsonrpc_message_adapter

log = logging.getLogger(__name__)

Incoming: TypeAlias = MemoryObjectSendStream[SessionMessage | Exception]

LINE_MAX: Final = 4 << 20
# How long a server may take to end by itself, and then once it was told to.
_GRACE_S: Final = 0.5


class ProcessTransport:
    """A transport of the SDK (`mcp.client._transport.Transport`) over one process.

    It sees none of our environment but PATH and the like, and dies with this object,
    with all that it has started.
    """

    def __init__(self, command: Sequence[str], line_max: int = LINE_MAX) -> None:
        self._command = list(command)
        self._line_max = line_max
        self._process: Process | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._streams: list[AsyncResource] = []

    @property
    def pid(self) -> int | None:
        """The process's id, once there is one."""
        return self._process.pid if self._process else None

    async def __aenter__(
        self,
    ) -> TransportStreams:
        """Starts the process; its standard error is ours. Raises OSError."""
        self._process = await asyncio.create_subprocess_exec(
            *self._command,
            stdin=PIPE,
            stdout=PIPE,
            env=get_default_environment(),
            start_new_session=True,
            limit=self._line_max,
        )
        incoming, heard = anyio.create_memory_object_stream[SessionMessage | Exception](0)
        said, outgoing = anyio.create_memory_object_stream[SessionMessage](0)
        self._streams = [incoming, heard, said, outgoing]
        loop = asyncio.get_running_loop()
        self._tasks = [
            loop.create_task(self._read(self._process, incoming)),
            loop.create_task(self._write(self._process, outgoing, incoming)),
        ]
        return heard, said

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Ends the process and its children, also while this is cancelled."""
        try:
            await self._stop()
        finally:
            self._kill(signal.SIGKILL)
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            for stream in self._streams:
                await stream.aclose()

    async def _read(self, process: Process, incoming: Incoming) -> None:
        assert process.stdout is not None  # noqa: S101  # it was asked for
        try:
            while line := await process.stdout.readline():
                if line.strip():
                    await incoming.send(_message(line))
        except ValueError:
            log.warning("an MCP server wrote a line of more than %d bytes", self._line_max)
        except (anyio.BrokenResourceError, anyio.ClosedResourceError, OSError):
            pass
        finally:
            incoming.close()

    async def _write(
        self,
        process: Process,
        outgoing: MemoryObjectReceiveStream[SessionMessage],
        incoming: Incoming,
    ) -> None:
        assert process.stdin is not None  # noqa: S101  # it was asked for
        try:
            async for message in outgoing:
                text = message.message.model_dump_json(by_alias=True, exclude_unset=True)
                process.stdin.write(text.encode() + b"\n")
                await process.stdin.drain()
        except (anyio.ClosedResourceError, OSError, RuntimeError):
            incoming.close()

    async def _stop(self) -> None:
        process = self._process
        if process is None:
            return
        if process.stdin is not None:
            process.stdin.close()
        for farewell in (None, signal.SIGTERM):
            if farewell is not None:
                self._kill(farewell)
            with suppress(TimeoutError):
                async with asyncio.timeout(_GRACE_S):
                    await process.wait()
                    return

    def _kill(self, number: signal.Signals) -> None:
        """The whole group: a server may have started others, and may be gone before them."""
        if self._process is not None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, number)


def _message(line: bytes) -> SessionMessage | Exception:
    try:
        return SessionMessage(jsonrpc_message_adapter.validate_json(line, by_name=False))
    except ValueError as error:
        return error
