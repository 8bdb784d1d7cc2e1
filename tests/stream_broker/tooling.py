"""Jobs with tools of the policy."""

from __future__ import annotations

from typing import Any

import msgspec

from contracts.grants import Grant, Usage
from stream_broker.engines.deltas import Failure, Finish, ToolCall
from stream_broker.events import Event
from stream_broker.record import JobHead
from tests.stream_broker.building import grant, head

DONE = Finish("tool_calls", Usage(prompt_tokens=10, completion_tokens=5))
DEATH = Failure("engine_truncated", "The engine died.")


def schema(name: str) -> dict[str, Any]:
    """A tool, as requests and grants have it."""
    function = {"name": name, "description": "", "parameters": {"type": "object"}}
    return {"type": "function", "function": function}


def granted(*names: str, rounds: int = 8, **changes: Any) -> Grant:
    """A grant with these tools."""
    tools = [schema(name) for name in names]
    return msgspec.structs.replace(grant(**changes), tools=tools, tool_rounds=rounds)


def tooled(
    *names: str, own: tuple[str, ...] = (), call: dict[str, Any] | None = None, **changes: Any
) -> JobHead:
    """A job with these tools of the policy, and the client's `own`."""
    members: dict[str, Any] = {"messages": [{"role": "user", "content": "hi"}], **(call or {})}
    if own:
        members["tools"] = [schema(name) for name in own]
    return head(durability="none", grant=granted(*names, **changes), call=members)


def call(number: int, name: str = "time", arguments: str = "{}") -> ToolCall:
    return ToolCall(f"c{number}", name, arguments)


def names(events: list[Event]) -> list[str]:
    return [event.name for event in events]


def results(events: list[Event]) -> list[tuple[str, bool, str]]:
    bodies = [event.body() for event in events if event.name == "tool_result"]
    return [(body["name"], body["ok"], body["content"]) for body in bodies]
