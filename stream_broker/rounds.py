"""A job's rounds of tool calls, and its conversation with them. Pure.

A round is one answer of an engine. Calls of the policy's tools in it are answered here,
and then the next round begins; calls of the client's own tools are handed back to it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import msgspec

from stream_broker.engines.deltas import ToolCall
from stream_broker.events import Event
from stream_broker.record import JobHead

# Ends of an engine's answer after which its calls are meant to be carried out.
CALLS_AFTER: Final = frozenset({"tool_calls", "stop"})
_ID_MAX: Final = 64


class Rounds:
    """The calls of one job. `granted`: names of the policy's tools that it may call, `own`:
    those of its client; `most`: rounds of calls that are carried out.

    Attributes: `open`, calls of this round that have no result, by id; `finished`, rounds
    whose calls all have one; `handed`, calls handed back; `over`, no round follows, for the
    client has calls to answer; `ended`, the engine's part of this round is whole.
    """

    __slots__ = (
        "_calls",
        "_ids",
        "_own",
        "ended",
        "finished",
        "granted",
        "handed",
        "most",
        "open",
        "over",
    )

    def __init__(self, granted: Iterable[str] = (), own: Iterable[str] = (), most: int = 0) -> None:
        self._own = frozenset(own)
        self.granted = frozenset(granted) - self._own
        self.most = most
        self.open: dict[str, ToolCall] = {}
        self.finished = 0
        self.handed = 0
        self.over = False
        self.ended = False
        self._ids: set[str] = set()
        self._calls = 0

    @property
    def called(self) -> bool:
        """Has a tool been called in this round?"""
        return self._calls > 0

    @property
    def used_up(self) -> bool:
        """Have all rounds been carried out?"""
        return self.finished >= self.most

    def is_ours(self, name: str) -> bool:
        """Is a call of this name answered here? Also one of a tool that nobody has, unless
        the job has none of the policy's."""
        return bool(self.granted) and name not in self._own

    def named(self, call: ToolCall) -> ToolCall:
        """The call under an id that no other call of the job has: engines begin anew in every
        round, or give none."""
        call_id = call.id if 0 < len(call.id) <= _ID_MAX else f"call_{len(self._ids)}"
        if call_id in self._ids:
            call_id = f"{call_id[:_ID_MAX]}_{len(self._ids)}"
        return call if call_id == call.id else msgspec.structs.replace(call, id=call_id)

    def add(self, call: ToolCall, *, ours: bool) -> None:
        """The model has called a tool."""
        self._ids.add(call.id)
        self._calls += 1
        if ours:
            self.open[call.id] = call
        else:
            self.handed += 1

    def close(self, call_id: str) -> bool:
        """A call has its result. Returns whether that ends the round."""
        if self.open.pop(call_id, None) is None or self.open:
            return False
        self.finished += 1
        self.ended = False
        self.over = self.handed > 0
        self._calls = 0
        return True


def name_of(tool: dict[str, Any]) -> str:
    """The name of a tool in a request or a grant; empty where it has none."""
    function = tool.get("function")
    return str(function.get("name", "")) if isinstance(function, dict) else ""


def rounds_of(head: JobHead) -> Rounds:
    """Those of a job that has not begun."""
    granted, own = head.grant.tools, head.call.get("tools") or ()
    return Rounds(map(name_of, granted), map(name_of, own), head.grant.tool_rounds)


class Spoken(msgspec.Struct, frozen=True):
    """What a job has said: whole rounds as messages, and the text after them."""

    messages: list[dict[str, Any]]
    text: str


def spoken(events: Iterable[Event]) -> Spoken:
    """A log as the conversation that it is, in the words of the OpenAI API."""
    messages: list[dict[str, Any]] = []
    text: list[str] = []
    calls: list[dict[str, Any]] = []
    results: list[dict[str, Any]] = []

    def turn() -> None:
        said = {"role": "assistant", "content": "".join(text), "tool_calls": list(calls)}
        # In the order of the calls, whichever tool was the fastest.
        order = {call["id"]: number for number, call in enumerate(calls)}
        answers = sorted(results, key=lambda result: order.get(result["tool_call_id"], 0))
        messages.extend([said, *answers])
        text.clear()
        calls.clear()
        results.clear()

    for event in events:
        if event.name not in ("token", "reasoning", "tool_call", "tool_result"):
            continue
        if results and event.name != "tool_result":
            turn()
        body = event.body()
        if event.name == "token":
            text.append(body["token"])
        elif event.name == "tool_call":
            calls.append(_call(body))
        elif event.name == "tool_result":
            results.append(_result(body))
    if results:
        turn()
    return Spoken(messages, "".join(text))


def _call(body: dict[str, Any]) -> dict[str, Any]:
    function = {"name": body["name"], "arguments": body["arguments"]}
    return {"id": body["id"], "type": "function", "function": function}


def _result(body: dict[str, Any]) -> dict[str, Any]:
    content = body["content"] if body["ok"] else f"Error: {body['content']}"
    return {"role": "tool", "tool_call_id": body["id"], "content": content}
