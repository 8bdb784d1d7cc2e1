"""The JSON bodies that clients send, as shapes: what may stand in them, in which bounds. Pure."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from contracts.grants import TOOLS_MAX

Text = Annotated[str, Meta(min_length=1)]
Name = Annotated[str, Meta(min_length=1, max_length=256)]
# What the path of a URL can name: it is asked for at /v1/sessions/{id}.
SessionId = Annotated[
    str, Meta(min_length=1, max_length=256, pattern=r"^(?!\.{1,2}\Z)[^/\x00-\x1f\x7f-\x9f]+\Z")
]
Tokens = Annotated[int, Meta(ge=1)]
ToolName = Annotated[str, Meta(min_length=1, max_length=64)]
Stops = Annotated[list[Text], Meta(max_length=4)]


class Part(msgspec.Struct):
    """A part of a message's content: text, an image; what else there is only engines know."""

    type: str
    text: str | None = None


class Called(msgspec.Struct):
    """The tool of a call."""

    name: Text


class Call(msgspec.Struct):
    """A call of a tool that an assistant's message has made."""

    function: Called


class Message(msgspec.Struct):
    """One message of a conversation, as the OpenAI API has it.

    Only an assistant's may be without content, for its calls of tools.
    """

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[Part] | None = None
    name: str | None = None
    tool_calls: list[Call] | None = None
    tool_call_id: str | None = None


Messages = Annotated[list[Message], Meta(min_length=1, max_length=2048)]
Temperature = Annotated[float, Meta(ge=0, le=2)]
TopP = Annotated[float, Meta(gt=0, le=1)]


class Function(msgspec.Struct):
    """What a tool of the client's own is called by; the rest is the engine's to read."""

    name: Text


class OwnTool(msgspec.Struct):
    """A tool of the client's own, as the OpenAI API has it."""

    function: Function
    type: Literal["function"] = "function"


class Format(msgspec.Struct):
    """OpenAI's `response_format`, and vLLM's; the rest is the engine's to read."""

    type: Literal["text", "json_object", "json_schema", "structural_tag"]


class Choice(msgspec.Struct):
    """A `tool_choice` of one tool."""

    function: Called
    type: Literal["function"] = "function"


Penalty = Annotated[float, Meta(ge=-2, le=2)]
TokenId = Annotated[str, Meta(pattern=r"^[0-9]{1,9}\Z")]
Bias = Annotated[float, Meta(ge=-100, le=100)]
# A string names a tool of the policy.
Tools = Annotated[list[ToolName | OwnTool], Meta(max_length=128)]


class JobBody(msgspec.Struct):
    """Body of `POST /v1/jobs`."""

    model: Name
    messages: Messages | None = None
    prompt: Text | None = None
    max_tokens: Tokens | None = None
    temperature: Temperature | None = None
    top_p: TopP | None = None
    stop: Text | Stops | None = None
    seed: int | None = None
    tools: Tools | None = None
    session_id: SessionId | None = None
    metadata: dict[str, Any] | None = None


class StreamOptions(msgspec.Struct):
    """OpenAI's `stream_options`."""

    include_usage: bool = False


class CompletionBody(msgspec.Struct):
    """Body of `POST /v1/chat/completions`, as far as it is acted on."""

    model: Name
    messages: Messages
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    max_tokens: Tokens | None = None
    max_completion_tokens: Tokens | None = None
    temperature: Temperature | None = None
    top_p: TopP | None = None
    stop: Text | Stops | None = None
    seed: int | None = None
    tools: Tools | None = None
    tool_choice: Literal["none", "auto", "required"] | Choice | None = None
    parallel_tool_calls: bool | None = None
    response_format: Format | None = None
    frequency_penalty: Penalty | None = None
    presence_penalty: Penalty | None = None
    logit_bias: Annotated[dict[TokenId, Bias], Meta(max_length=1024)] | None = None
    reasoning_effort: Annotated[str, Meta(min_length=1, max_length=16)] | None = None
    n: int | None = 1
    logprobs: bool | None = False
    top_logprobs: int | None = None
    user: str | None = None
    session_id: SessionId | None = None
    metadata: Any = None


class SessionNamed(msgspec.Struct):
    """What `metadata` of an OpenAI client may name."""

    session_id: SessionId


class ChatBody(msgspec.Struct):
    """Body of `POST /chat`."""

    message: Text
    conversation_id: SessionId | None = None
    tools: Annotated[list[ToolName], Meta(max_length=TOOLS_MAX)] | None = None
