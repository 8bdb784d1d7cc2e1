"""Tool calls out of the parts in which the OpenAI API streams them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import msgspec

from stream_broker.engines.deltas import ToolCall
from stream_broker.engines.openai_chunk import CallPart

# What a part costs beyond its arguments, so that a flood of empty parts is bounded too.
_PART_COST: Final = 64


class CallError(Exception):
    """The parts make no call that anybody could run."""


@dataclass(slots=True)
class _Open:
    id: str
    name: str
    arguments: list[str]


class CallAssembler:
    """Collects the parts of a stream's tool calls, at most `limit` characters of them."""

    __slots__ = ("_limit", "_open", "_size")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._size = 0
        self._open: dict[int, _Open] = {}

    def add(self, parts: list[CallPart]) -> None:
        """Takes the parts of one chunk. Raises CallError over the limit."""
        for part in parts:
            call = self._open.get(part.index)
            if call is None:
                call = self._open[part.index] = _Open(f"call_{part.index}", "", [])
            call.id = part.id or call.id
            if part.function is not None:
                call.name = part.function.name or call.name
                call.arguments.append(part.function.arguments or "")
                self._size += len(call.arguments[-1])
            self._size += _PART_COST
        if self._size > self._limit:
            raise CallError("too long")

    def finish(self, *, cut: bool) -> list[ToolCall]:
        """The whole calls in order of their index; the assembler is empty afterwards.

        After an answer that was `cut` at its length, a call that is not whole is left
        out; otherwise it raises CallError.
        """
        opened = sorted(self._open.items())
        self._open = {}
        calls = []
        for _, call in opened:
            arguments = "".join(call.arguments) or "{}"
            if call.name and _is_json(arguments):
                calls.append(ToolCall(call.id, call.name, arguments))
            elif not cut:
                raise CallError("not whole")
        return calls


def _is_json(text: str) -> bool:
    try:
        msgspec.json.decode(text)
    except (ValueError, RecursionError):
        return False
    return True
