"""The tools of one MCP server, as the policy names it: `NAME_TOOL` each.

The session is made when it is needed, and anew after a server that died; the server's
list of tools is read again from time to time.
"""

from __future__ import annotations

import asyncio
import logging
import re
from importlib import import_module
from typing import Any, Final, Protocol

from contracts.grants import TOOLS_MAX
from contracts.tools import OfferedFunction
from control_plane.json_schemas import SchemaError, parameters_of
from control_plane.policy_document import McpTool
from control_plane.tools.address import check_allowed
from control_plane.tools.base import Call, ToolError, ToolsError
from control_plane.tools.network import Resolve, resolve, too_large

log = logging.getLogger(__name__)

LIST_EVERY_S: Final = 30.0
_LIST_AGAIN_S: Final = 5.0
_DESCRIPTION_MAX: Final = 1024
_SESSIONS: Final = "control_plane.tools.mcp_session"
_NAME: Final = re.compile(r"[a-zA-Z0-9_-]{1,64}")


class Session(Protocol):
    """See `mcp_session.McpSession`."""

    lost: bool

    async def functions(self) -> list[Any]: ...

    async def call(self, name: str, arguments: dict[str, Any]) -> tuple[bool, str]: ...

    async def aclose(self) -> None: ...


class McpServer:
    """One MCP server, ready to be called. Its functions are known once it was listed."""

    def __init__(self, name: str, tool: McpTool, resolved: Resolve = resolve) -> None:
        """Raises ToolsError."""
        if (tool.command is None) == (tool.url is None) or tool.command == []:
            raise ToolsError(f"{name}: an MCP server has either a command or a url")
        try:
            check_allowed(tool.allow)
        except ValueError as error:
            raise ToolsError(f"{name}: allow: {error}") from error
        self._name = name
        self._tool = tool
        self._resolve = resolved
        self._session: Session | None = None
        self._opening = asyncio.Lock()
        self._keeper: asyncio.Task[None] | None = None
        self._known: dict[str, str] = {}
        self._told = ""
        self.functions: list[OfferedFunction] = []
        self.timeout_s = tool.timeout_s

    def start(self) -> None:
        """Lists the tools, now and from time to time, in a task of its own."""
        self._keeper = asyncio.create_task(self._keep_listed(), name=f"tools of {self._name}")

    async def aclose(self) -> None:
        """Ends the session and the server's process."""
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
        async with self._opening:
            await self._close()

    async def invoke(self, function: str, call: Call) -> str:
        """See RunningTool."""
        theirs = self._known.get(function)
        if theirs is None:
            raise ToolError("unreachable", "The tool's server does not offer this now.")
        session = await self._opened()
        well, text = await session.call(theirs, dict(call.arguments))
        if len(text.encode()) > self._tool.answer_max:
            raise too_large(self._tool.answer_max)
        if not well:
            raise ToolError("failed", text or "The tool failed.")
        return text

    async def list_now(self) -> None:
        """Reads what the server offers. Raises ToolError or TimeoutError."""
        async with asyncio.timeout(self._tool.timeout_s):
            session = await self._opened()
            listed = await session.functions()
        functions: list[OfferedFunction] = []
        known: dict[str, str] = {}
        for theirs in listed:
            if self._tool.only is not None and theirs.name not in self._tool.only:
                continue
            offered = self._offered(theirs)
            if offered is not None and offered.name not in known and len(known) < TOOLS_MAX:
                functions.append(offered)
                known[offered.name] = theirs.name
        self.functions, self._known = functions, known

    def _offered(self, theirs: Any) -> OfferedFunction | None:
        ours = f"{self._name}_{theirs.name}"
        if not _NAME.fullmatch(ours):
            self._tell(f"{self._name}: no model can call a tool of this name: {ours[:100]!r}")
            return None
        try:
            parameters = parameters_of(theirs.input_schema)
        except SchemaError as error:
            self._tell(f"{self._name}: {theirs.name} is not offered: {error}")
            return None
        description = (theirs.description or theirs.title or "")[:_DESCRIPTION_MAX]
        return OfferedFunction(name=ours, description=description, parameters=parameters)

    async def _opened(self) -> Session:
        """The session; a new one where the last was lost."""
        async with self._opening:
            if self._session is not None and self._session.lost:
                await self._close()
            if self._session is None:
                # The SDK costs a second of CPU to import: only those pay who use it.
                module = await asyncio.to_thread(import_module, _SESSIONS)
                session: Session = module.McpSession(self._tool, self._resolve)
                self._session = session
            return self._session

    async def _close(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.aclose()

    async def _keep_listed(self) -> None:
        while True:
            try:
                await self.list_now()
                self._told = ""
                await asyncio.sleep(LIST_EVERY_S)
            except Exception as error:
                why = getattr(error, "why", "") or str(error) or "no answer in time"
                self._tell(f"{self._name}: not listed: {why}")
                await self._forget_stuck()
                await asyncio.sleep(_LIST_AGAIN_S)

    async def _forget_stuck(self) -> None:
        """One that does not even list its tools is begun anew."""
        async with self._opening:
            await self._close()

    def _tell(self, message: str) -> None:
        """Once, not at every round."""
        if message not in self._told:
            self._told += message
            log.warning("%s", message)
