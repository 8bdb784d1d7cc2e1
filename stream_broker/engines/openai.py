"""The stream of `/v1/chat/completions`, as vLLM and llama.cpp send it.

A clean end is a `finish_reason` followed by `[DONE]`, or by the end of a whole HTTP body
(some servers leave `[DONE]` out). `[DONE]` alone proves nothing: vLLM sends it after an
error and after `finish_reason: "abort"` (measured, vLLM 0.32).
"""

from __future__ import annotations

from typing import Final

from contracts.grants import Usage
from stream_broker.engines import failures
from stream_broker.engines.deltas import Delta, Failure, Finish, Reasoning, Text
from stream_broker.engines.openai_chunk import CallPart, Chunk, decode_chunk
from stream_broker.engines.sse import EventCutter, data_of
from stream_broker.engines.template import NO_TEMPLATE, Template, decode_string, learn
from stream_broker.engines.toolcalls import CallAssembler, CallError

_DATA: Final = b"data: "
_DONE: Final = b"[DONE]"

# What engines call a clean end -> what the contract calls it.
_REASONS: Final = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
    "repetition": "stop",
}
# After so many templates in a row that fitted no chunk, none is learnt any more.
_DOUBT_MAX: Final = 8


class OpenAIParser:
    """SSE bytes of one streamed chat completion to deltas (see `wire.WireParser`).

    `line_max` bounds an event and, apart from it, the tool calls of the answer, in bytes.
    """

    __slots__ = (
        "_calls",
        "_counted",
        "_doubt",
        "_events",
        "_over",
        "_proven",
        "_reason",
        "_template",
        "_usage",
    )

    def __init__(self, line_max: int) -> None:
        self._events = EventCutter(line_max)
        self._calls = CallAssembler(line_max)
        self._template = NO_TEMPLATE
        self._proven = True
        self._doubt = 0
        self._reason: str | None = None
        self._usage: Usage | None = None
        # A chunk whose count was not decoded: later than `_usage`.
        self._counted = b""
        self._over = False

    def feed(self, data: bytes) -> list[Delta]:
        """The deltas that `data` completes. The loop is the hot path: see `template`."""
        out: list[Delta] = []
        if self._over:
            return out
        head, tail, counts, _ = self._template
        for block in self._events.feed(data):
            if block.startswith(head):
                if counts is None:
                    last = len(block) - len(tail) if block.endswith(tail) else 0
                else:
                    last = block.rfind(tail)
                    if not counts(block, last + len(tail)):
                        last = 0
                try:
                    text = decode_string(block[len(head) - 1 : last + 1])
                except ValueError:
                    pass
                else:
                    self._proven = True
                    if counts is not None:
                        self._counted = block
                    if text:
                        out.append(Text(text))
                    continue
            self._event(block, out)
            head, tail, counts, _ = self._template
        if self._events.too_long:
            self._fail(failures.line_too_long(), out)
        return out

    def eof(self, complete: bool) -> list[Delta]:
        """The end of the body; `complete` if HTTP says that nothing is missing."""
        out: list[Delta] = []
        if complete:
            self._end(out)
        else:
            self._fail(failures.truncated(), out)
        return out

    def form(self) -> Template | None:
        """What the events have in common that come next; None while that is not known, or
        in the middle of one."""
        if self._template is NO_TEMPLATE or not self._events.between:
            return None
        return self._template

    def usage(self) -> Usage | None:
        """The last count that the engine has given, of all so far or of the whole."""
        if self._counted:
            chunk = decode_chunk(self._counted.removeprefix(_DATA))
            self._counted = b""
            if chunk is not None and chunk.usage is not None:
                self._usage = chunk.usage.counted()
        return self._usage

    def _event(self, block: bytes, out: list[Delta]) -> None:
        """Any event, decoded in full."""
        data = data_of(block).strip()
        if not data or self._over:
            return
        if data == _DONE:
            self._end(out)
            return
        chunk = decode_chunk(data)
        if chunk is None:
            self._fail(failures.unreadable(), out)
            return
        if chunk.error is not None:
            self._fail(failures.told_in_stream(chunk.error), out)
            return
        if chunk.usage is not None:
            self._usage, self._counted = chunk.usage.counted(), b""
        if self._reason is None:
            if text := chunk.only_text():
                self._learn(block, text)
            self._say(chunk, out)

    def _say(self, chunk: Chunk, out: list[Delta]) -> None:
        """What the chunk adds to the answer: thinking, text, tool calls, its end."""
        if not chunk.choices:
            return
        choice = chunk.choices[0]
        if choice.delta is not None:
            thought = choice.delta.reasoning_content or choice.delta.reasoning
            if thought:
                out.append(Reasoning(thought))
            if choice.delta.content:
                out.append(Text(choice.delta.content))
            if choice.delta.tool_calls:
                self._collect(choice.delta.tool_calls, out)
        if choice.finish_reason is not None:
            self._conclude(choice.finish_reason, out)

    def _collect(self, parts: list[CallPart], out: list[Delta]) -> None:
        try:
            self._calls.add(parts)
        except CallError:
            self._fail(failures.unreadable(), out)

    def _conclude(self, told: str, out: list[Delta]) -> None:
        """The answer is complete; its usage and `[DONE]` are still to come."""
        self._template = NO_TEMPLATE
        if self._over:
            return
        reason = _REASONS.get(told)
        if reason is None:
            abort = told == "abort"
            self._fail(failures.truncated() if abort else failures.told_in_stream(told), out)
            return
        try:
            calls = self._calls.finish(cut=reason == "length")
        except CallError:
            self._fail(failures.unreadable(), out)
            return
        out.extend(calls)
        # A tool named in `tool_choice` ends with "stop" on some servers.
        self._reason = "tool_calls" if calls and reason == "stop" else reason

    def _end(self, out: list[Delta]) -> None:
        if self._reason is None:
            self._fail(failures.truncated(), out)
        elif not self._over:
            self._over = True
            out.append(Finish(self._reason, self.usage()))

    def _fail(self, failure: Failure, out: list[Delta]) -> None:
        self._template = NO_TEMPLATE
        if not self._over:
            self._over = True
            out.append(failure)

    def _learn(self, block: bytes, text: str) -> None:
        """Takes the block's template, unless too many before it fitted no other block."""
        self._doubt = 0 if self._proven else self._doubt + 1
        if self._doubt >= _DOUBT_MAX or not block.startswith(_DATA):
            return
        template = learn(block[len(_DATA) :], text)
        self._proven = False
        if template is not None:
            self._template = template._replace(head=_DATA + template.head)
