"""The tools of the policy in force: what is offered, and the calls of it."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Protocol

import msgspec

from contracts.tools import ARGUMENTS_MAX, Invocation, OfferedFunction, OfferedTool
from control_plane.policy_document import (
    CalculatorTool,
    HttpTool,
    McpTool,
    TimeTool,
    Tool,
)
from control_plane.tools.base import Call, Outcome, Result, RunningTool, ToolError, ToolsError
from control_plane.tools.builtin import calculator_tool, time_tool
from control_plane.tools.http_tool import HttpCaller
from control_plane.tools.mcp_tool import McpServer
from control_plane.tools.network import Resolve, resolve

log = logging.getLogger(__name__)

# Calls at once, of all tools and of one: more are told that there is no room.
CALLS_MAX: Final = 256
CALLS_OF_ONE_MAX: Final = 32
# Answers are remembered for brokers that did not get them: this many, of so many bytes.
_KEPT_MAX: Final = 1024
_KEPT_BYTES: Final = 16 << 20
# More than a tool's own limit, which it may have to tell of.
_SLACK_S: Final = 0.5


class Observer(Protocol):
    """Hears of every call that has ended."""

    def called(
        self, tool: str, function: str, actor: str, outcome: Outcome, seconds: float
    ) -> None:
        """`tool` is the policy's name, `actor` the user's id."""
        ...


class Toolbox:
    """`clock` gives Unix seconds, `monotonic` seconds for spans. `aclose` after use.

    `observer` hears of each call once, however often it is asked for.
    """

    def __init__(
        self,
        observer: Observer,
        clock: Callable[[], float],
        monotonic: Callable[[], float],
        resolved: Resolve = resolve,
    ) -> None:
        self._observer = observer
        self._clock = clock
        self._monotonic = monotonic
        self._resolve = resolved
        self._rules: dict[str, Tool] = {}
        self._base: Path | None = None
        self._tools: dict[str, RunningTool] = {}
        self._running: dict[str, asyncio.Task[Result]] = {}
        self._kept: OrderedDict[str, Result] = OrderedDict()
        self._kept_bytes = 0
        self._closing: set[asyncio.Task[None]] = set()

    def load(self, rules: Mapping[str, Tool], base: Path | None = None) -> None:
        """Takes over the tools of a policy; those that are the same go on as they are.

        `base`: where its file names begin. One that cannot be used is told of in the log,
        and is offered to nobody.
        """
        old, self._tools = self._tools, {}
        for name, rule in rules.items():
            if base == self._base and self._rules.get(name) == rule and name in old:
                self._tools[name] = old[name]
                continue
            try:
                tool = made(name, rule, base, self._clock, self._resolve)
            except ToolsError as error:
                log.error("a tool of the policy cannot be used: %s", error)
                continue
            self._tools[name] = tool
            tool.start()
        self._rules, self._base = dict(rules), base
        for name, tool in old.items():
            if self._tools.get(name) is not tool:
                self._own(asyncio.create_task(tool.aclose(), name=f"end of tool {name}"))

    async def aclose(self) -> None:
        """Ends calls, connections and processes."""
        for task in self._running.values():
            task.cancel()
        await asyncio.gather(*self._running.values(), return_exceptions=True)
        await asyncio.gather(*(tool.aclose() for tool in self._tools.values()))
        await asyncio.gather(*self._closing, return_exceptions=True)
        self._tools = {}
        self._rules = {}

    def offered(self) -> list[dict[str, Any]]:
        """The schemas of all tools, as models are told them."""
        return [_schema(function) for tool in self._tools.values() for function in tool.functions]

    def names(self, tools: Iterable[str]) -> list[str]:
        """What the policy's tools of these names are called by."""
        return [
            function.name
            for name in tools
            if name in self._tools
            for function in self._tools[name].functions
        ]

    def asked_for(self, asked: Sequence[str], permitted: Sequence[str]) -> list[dict[str, Any]]:
        """The schemas of what a request asks for: functions, or all of a tool by its name.

        `permitted`: names of the policy's tools. Raises KeyError for what is not among them.
        """
        found: dict[str, dict[str, Any]] = {}
        for name in asked:
            functions = self._functions_of(name, permitted)
            if not functions:
                raise KeyError(name)
            found |= {function.name: _schema(function) for function in functions}
        return list(found.values())

    def knows(self, function: str) -> bool:
        """Can it be called, as far as is known?"""
        return self._find(function) is not None

    async def invoke(self, function: str, asked: Invocation, actor: str) -> Result:
        """Calls a tool, or waits for the same call that was asked for before.

        Always has a result. Raises KeyError for a function that there is none of.
        """
        found = self._find(function)
        if found is None:
            raise KeyError(function)
        key = _key(function, asked)
        if (kept := self._kept.get(key)) is not None:
            return kept
        task = self._running.get(key)
        if task is None:
            if self._full(found[0]):
                self._observer.called(found[0], function, actor, "busy", 0.0)
                return Result("busy", "Too many tools are being called; try again later.")
            work = self._call(*found, function, asked, actor)
            # The name tells whose room it takes.
            task = asyncio.create_task(work, name=found[0])
            self._running[key] = task
            task.add_done_callback(lambda done: self._ended(key, done))
        # Who asks may leave, and ask again: the call goes on.
        return await asyncio.shield(task)

    def _full(self, tool: str) -> bool:
        """One slow tool must not take the room of the others."""
        of_it = sum(task.get_name() == tool for task in self._running.values())
        return len(self._running) >= CALLS_MAX or of_it >= CALLS_OF_ONE_MAX

    def _functions_of(self, name: str, permitted: Sequence[str]) -> list[OfferedFunction]:
        if name in permitted and name in self._tools:
            return self._tools[name].functions
        found = self._find(name)
        if found is None or found[0] not in permitted:
            return []
        return [function for function in found[1].functions if function.name == name]

    def _find(self, function: str) -> tuple[str, RunningTool] | None:
        for name, tool in self._tools.items():
            if any(offered.name == function for offered in tool.functions):
                return name, tool
        return None

    async def _call(
        self, name: str, tool: RunningTool, function: str, asked: Invocation, actor: str
    ) -> Result:
        began = self._monotonic()
        result = Result("failed", "The tool broke.")
        try:
            call = Call(key=f"{asked.job_id}/{asked.id}", arguments=_arguments(asked.arguments))
            async with asyncio.timeout(tool.timeout_s + _SLACK_S):
                result = Result("ok", await tool.invoke(function, call))
        except ToolError as error:
            result = Result(error.outcome, str(error))
        except TimeoutError:
            result = Result("timeout", "The tool did not answer in time.")
        except Exception:
            log.exception("the tool %s broke", function)
        finally:
            spent = self._monotonic() - began
            self._observer.called(name, function, actor, result.outcome, spent)
        return result

    def _ended(self, key: str, task: asyncio.Task[Result]) -> None:
        self._running.pop(key, None)
        if task.cancelled() or task.exception() is not None:
            return
        result = task.result()
        self._kept[key] = result
        self._kept_bytes += len(result.content)
        while len(self._kept) > _KEPT_MAX or self._kept_bytes > _KEPT_BYTES:
            _, gone = self._kept.popitem(last=False)
            self._kept_bytes -= len(gone.content)

    def _own(self, task: asyncio.Task[None]) -> None:
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)


def made(
    name: str, rule: Tool, base: Path | None, clock: Callable[[], float], resolved: Resolve
) -> RunningTool:
    """The tool that the policy describes, not started yet. Raises ToolsError."""
    match rule:
        case TimeTool():
            return time_tool(name, clock)
        case CalculatorTool():
            return calculator_tool(name)
        case HttpTool():
            return HttpCaller(name, rule, base, resolved)
        case McpTool():
            return McpServer(name, rule, resolved)


def _arguments(told: Any) -> dict[str, Any]:
    """The object, which a model may have written as text. Raises ToolError."""
    if isinstance(told, str):
        if len(told) > ARGUMENTS_MAX:
            raise ToolError("invalid", f"Arguments may have {ARGUMENTS_MAX} bytes at most.")
        try:
            told = msgspec.json.decode(told) if told.strip() else {}
        except (msgspec.DecodeError, RecursionError) as error:
            raise ToolError("invalid", "The arguments are not valid JSON.") from error
    if not isinstance(told, dict):
        raise ToolError("invalid", "The arguments must be a JSON object.")
    with suppress(RecursionError):
        if len(msgspec.json.encode(told)) <= ARGUMENTS_MAX:
            return told
    raise ToolError("invalid", f"Arguments may have {ARGUMENTS_MAX} bytes at most.")


def _key(function: str, asked: Invocation) -> str:
    told = msgspec.json.encode((function, asked.job_id, asked.id, asked.arguments))
    return hashlib.sha256(told).hexdigest()


def _schema(function: OfferedFunction) -> dict[str, Any]:
    schema: dict[str, Any] = msgspec.to_builtins(OfferedTool(function=function))
    return schema
