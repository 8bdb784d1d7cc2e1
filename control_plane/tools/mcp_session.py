"""One connection to an MCP server: the only place that knows the SDK's client."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from typing import Any, Final

import anyio
import httpx2
import msgspec
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client
from mcp_types import CONNECTION_CLOSED, Implementation

from control_plane.policy_document import McpTool
from control_plane.tools.base import ToolError
from control_plane.tools.mcp_process import LINE_MAX, ProcessTransport
from control_plane.tools.network import GuardedTransport, Resolve, client_for

log = logging.getLogger(__name__)

_PAGES_MAX: Final = 20
_GONE: Final = (
    anyio.BrokenResourceError,
    anyio.ClosedResourceError,
    anyio.EndOfStream,
    httpx2.HTTPError,
    OSError,
)


class SessionLost(ToolError):
    """The server has gone; another session may reach it again. `why` is for the log."""

    def __init__(self, why: str = "") -> None:
        super().__init__("unreachable", "The tool's server went away before it answered.")
        self.why = why


class McpSession:
    """A session in a task of its own, as the SDK wants it: opened, asked, closed.

    Every method is to be called under a time limit of the caller's.
    """

    def __init__(self, tool: McpTool, resolved: Resolve) -> None:
        self._tool = tool
        self._resolve = resolved
        self._over = asyncio.Event()
        self._client: asyncio.Future[Client] = asyncio.get_running_loop().create_future()
        self._task = asyncio.create_task(self._hold(), name="mcp session")
        self.lost = False
        self._why = ""

    async def opened(self) -> Client:
        """The client, once the version is agreed on. Raises SessionLost."""
        try:
            return await asyncio.shield(self._client)
        except asyncio.CancelledError:
            if self._task.done():
                raise SessionLost(self._why) from None
            raise

    async def functions(self) -> list[Any]:
        """The server's tools, as it lists them. Raises SessionLost or ToolError."""
        client = await self.opened()
        found: list[Any] = []
        cursor: str | None = None
        with self._translated():
            for _ in range(_PAGES_MAX):
                page = await client.list_tools(cursor=cursor, cache_mode="bypass")
                found += page.tools
                cursor = page.next_cursor
                if not cursor:
                    break
        return found

    async def call(self, name: str, arguments: dict[str, Any]) -> tuple[bool, str]:
        """Calls a tool: whether it went well, and the text. Raises SessionLost or ToolError."""
        client = await self.opened()
        with self._translated():
            result = await client.call_tool(name, arguments)
        return not result.is_error, _text(result.content, result.structured_content)

    async def aclose(self) -> None:
        """Ends the session and the server's process, where it has one."""
        self._over.set()
        if not self._client.done():
            self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    def _translated(self) -> _Translated:
        return _Translated(self)

    async def _hold(self) -> None:
        try:
            async with AsyncExitStack() as stack:
                client = await stack.enter_async_context(await self._connected(stack))
                self._client.set_result(client)
                await self._over.wait()
        except Exception as error:
            # What goes wrong in the SDK's tasks comes here in groups.
            self._why = _reason(error)
        finally:
            self.lost = True
            self._client.cancel()

    async def _connected(self, stack: AsyncExitStack) -> Client:
        tool, info = self._tool, Implementation(name="okome", version="1")
        if tool.command is not None:
            return Client(ProcessTransport(tool.command), client_info=info, cache=None)
        transport = GuardedTransport(tool.allow, LINE_MAX, self._resolve)
        http = await stack.enter_async_context(client_for(transport, tool.timeout_s))
        url = str(tool.url)
        streams = streamable_http_client(url, http_client=http, max_sse_event_size=LINE_MAX)
        return Client(streams, client_info=info, cache=None)


class _Translated:
    """The SDK's errors as ours; a session that is gone is noted as lost."""

    def __init__(self, session: McpSession) -> None:
        self._session = session

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, MCPError) and error.code != CONNECTION_CLOSED:
            raise ToolError("failed", f"The tool's server refused: {error.message[:300]}")
        if isinstance(error, (MCPError, *_GONE)):
            self._session.lost = True
            raise SessionLost(_reason(error)) from error
        if isinstance(error, Exception) and not isinstance(error, ToolError | TimeoutError):
            log.warning("an MCP server answered with nonsense: %s", _reason(error))
            raise ToolError("failed", "The tool's server gave an answer that is none.") from error


def _text(content: Sequence[Any], structured: Any) -> str:
    """The text of an answer; what is not text is named."""
    parts = [part.text if part.type == "text" else f"[{part.type}]" for part in content]
    if not parts and structured is not None:
        return msgspec.json.encode(structured).decode()
    return "\n".join(parts)


def _reason(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    with suppress(Exception):
        return f"{type(error).__name__}: {str(error)[:200]}"
    return type(error).__name__
