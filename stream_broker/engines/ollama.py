"""The stream of Ollama's `/api/chat`: one JSON object a line (NDJSON).

Source: Ollama's `docs/api.md`, and the server's structs and the types of its Python
client 0.6.3. The end is the object with `done: true`, which has the counts (left out
when zero); an object with `error` may come on any line, and the status stays 200.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from contracts.grants import Usage
from stream_broker.engines import failures
from stream_broker.engines.blocks import BlockCutter
from stream_broker.engines.deltas import Delta, Failure, Finish, Reasoning, Text, ToolCall


class CalledFunction(msgspec.Struct):
    """A whole call; the arguments are an object, kept as the engine wrote it."""

    name: str
    arguments: msgspec.Raw = msgspec.Raw(b"{}")


class Called(msgspec.Struct):
    """A tool call; older servers give it no id."""

    function: CalledFunction
    id: str = ""


class Said(msgspec.Struct):
    """What the answer grows by."""

    content: str | None = None
    thinking: str | None = None
    tool_calls: list[Called] | None = None


class Line(msgspec.Struct):
    """One object of the stream; all other fields are skipped undecoded."""

    message: Said | None = None
    done: bool = False
    done_reason: str = ""
    prompt_eval_count: int = 0
    eval_count: int = 0
    error: Any = None


_decode: Final = msgspec.json.Decoder(Line).decode

# `load` and `unload` answer a request without messages: there is no answer to it.
# Older servers give no reason at all.
_REASONS: Final = {"stop": "stop", "length": "length", "": "stop"}


class OllamaParser:
    """NDJSON bytes of one streamed chat to deltas (see `wire.WireParser`).

    `line_max` bounds a line in bytes. Calls without an id are `call_0`, `call_1`, …
    """

    __slots__ = ("_called", "_lines", "_over")

    def __init__(self, line_max: int) -> None:
        self._lines = BlockCutter(b"\n", line_max)
        self._called = 0
        self._over = False

    def feed(self, data: bytes) -> list[Delta]:
        """The deltas that `data` completes."""
        out: list[Delta] = []
        if self._over:
            return out
        for text in self._lines.cut(data):
            if self._over:
                return out
            if text.strip():
                self._line(text, out)
        if self._lines.too_long and not self._over:
            self._fail(failures.line_too_long(), out)
        return out

    def eof(self, complete: bool) -> list[Delta]:  # noqa: ARG002 - the common seam
        """The end of the body: never clean by itself, complete or not."""
        out: list[Delta] = []
        if not self._over:
            self._fail(failures.truncated(), out)
        return out

    def usage(self) -> Usage | None:
        """Ollama counts at the end only, and says it with the Finish."""
        return None

    def _line(self, text: bytes, out: list[Delta]) -> None:
        line = _decode_line(text)
        if line is None:
            self._fail(failures.unreadable(), out)
            return
        if line.error is not None:
            self._fail(failures.told_in_stream(line.error), out)
            return
        if line.message is not None:
            self._say(line.message, out)
        if line.done:
            self._end(line, out)

    def _say(self, said: Said, out: list[Delta]) -> None:
        if said.thinking:
            out.append(Reasoning(said.thinking))
        if said.content:
            out.append(Text(said.content))
        for call in said.tool_calls or ():
            name, arguments = call.function.name, bytes(call.function.arguments).decode()
            out.append(ToolCall(call.id or f"call_{self._called}", name, arguments))
            self._called += 1

    def _end(self, line: Line, out: list[Delta]) -> None:
        reason = _REASONS.get(line.done_reason)
        if reason is None:
            self._fail(failures.told_in_stream(line.done_reason), out)
            return
        self._over = True
        # Ollama says "stop" after tool calls too; the contract says what they are.
        reason = "tool_calls" if self._called and reason == "stop" else reason
        usage = Usage(prompt_tokens=line.prompt_eval_count, completion_tokens=line.eval_count)
        out.append(Finish(reason, usage))

    def _fail(self, failure: Failure, out: list[Delta]) -> None:
        self._over = True
        out.append(failure)


def _decode_line(text: bytes) -> Line | None:
    """A line's object; None if it is none. Invalid UTF-8 is read with U+FFFD in its place."""
    try:
        return _decode(text)
    except UnicodeDecodeError:
        return _decode_line(text.decode("utf-8", "replace").encode())
    except (msgspec.DecodeError, RecursionError):
        return None
