"""One generation as the relay asks for it, and one HTTP request as the client sends it."""

from __future__ import annotations

from typing import Any

import msgspec


class EngineCall(msgspec.Struct, frozen=True, kw_only=True):
    """What to generate, in the words of the OpenAI API, for any engine.

    `max_tokens` is what is still to be generated. A `prefix` is the text so far of an
    answer to be continued, cut at a whole character; the engine goes on right behind it.
    `traceparent` (W3C Trace Context) goes along as a header.
    """

    model: str
    messages: list[dict[str, Any]]
    max_tokens: int
    temperature: float | None = None
    top_p: float | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    response_format: dict[str, Any] | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    logit_bias: dict[str, float] | None = None
    reasoning_effort: str | None = None
    prefix: str = ""
    traceparent: str | None = None

    def conversation(self) -> list[dict[str, Any]]:
        """The messages, with the prefix as (the end of) a last assistant message.

        llama.cpp refuses two assistant messages at the end, so a text already begun
        by the caller and the prefix become one.
        """
        if not self.prefix:
            return self.messages
        begun = self.messages[-1] if self.messages else {}
        text = begun.get("content")
        if begun.get("role") == "assistant" and isinstance(text, str):
            return [*self.messages[:-1], {**begun, "content": text + self.prefix}]
        return [*self.messages, {"role": "assistant", "content": self.prefix}]


class HttpRequest(msgspec.Struct, frozen=True):
    """A request without its connection: the client adds Host and Content-Length.

    `path` is relative to the engine's base URL.
    """

    method: str
    path: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
