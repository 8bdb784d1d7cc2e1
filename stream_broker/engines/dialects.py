"""How to ask each kind of engine: its request, its stream, its refusals."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final, Protocol

import msgspec

from contracts.grants import EngineKind
from stream_broker.engines import failures
from stream_broker.engines.call import EngineCall, HttpRequest
from stream_broker.engines.deltas import Failure
from stream_broker.engines.ollama import OllamaParser
from stream_broker.engines.ollama_request import chat_body
from stream_broker.engines.openai import OpenAIParser
from stream_broker.engines.tf_serving import (
    RESULT_MAX,
    PredictParser,
    predict_body,
    predict_path,
)
from stream_broker.engines.wire import WireParser

LINE_MAX: Final = 1 << 20
_JSON: Final = (("Content-Type", "application/json"),)


class Dialect(Protocol):
    """What one kind of engine understands. Pure: no connection, no clock."""

    def request(self, call: EngineCall) -> HttpRequest:
        """The request that starts the stream."""
        ...

    def parser(self) -> WireParser:
        """A parser for one answer with status 200."""
        ...

    def refusal(self, status: int, body: bytes) -> Failure:
        """What to tell of an answer with another status; `body` may be cut or empty."""
        ...


class OpenAIDialect:
    """vLLM and llama.cpp: `/v1/chat/completions`.

    `return_progress` is llama.cpp's: it tells of every batch of the prompt. Only because
    it then has something to write does it notice during the prompt that nobody listens
    any more (measured on xllamacpp 2026.10: without it a closed connection is noticed at
    the first token, with it after one batch). vLLM ignores fields it does not know.

    `continuous_usage_stats` is vLLM's: a count in every chunk, so that what a job has used
    is known wherever it is cut. llama.cpp ignores it and counts at the end only (xllamacpp
    2026.10).

    A continuation sets vLLM's two flags. llama.cpp takes them together (alone,
    `continue_final_message` is refused) and continues without them too, to the same
    tokens: measured on xllamacpp 2026.10.
    """

    def __init__(self, line_max: int = LINE_MAX) -> None:
        self._line_max = line_max

    def request(self, call: EngineCall) -> HttpRequest:
        """The streamed chat completion, with usage."""
        body: dict[str, Any] = {
            "model": call.model,
            "messages": call.conversation(),
            "stream": True,
            "stream_options": {"include_usage": True, "continuous_usage_stats": True},
            "return_progress": True,
            "max_tokens": call.max_tokens,
        }
        optional = {
            "temperature": call.temperature,
            "top_p": call.top_p,
            "stop": list(call.stop) or None,
            "seed": call.seed,
            "tools": call.tools or None,
            "tool_choice": call.tool_choice,
            "parallel_tool_calls": call.parallel_tool_calls,
            "response_format": call.response_format,
            "frequency_penalty": call.frequency_penalty,
            "presence_penalty": call.presence_penalty,
            "logit_bias": call.logit_bias,
            "reasoning_effort": call.reasoning_effort,
        }
        body |= {name: value for name, value in optional.items() if value is not None}
        if call.prefix:
            body |= {"continue_final_message": True, "add_generation_prompt": False}
        return HttpRequest("POST", "/v1/chat/completions", _JSON, msgspec.json.encode(body))

    def parser(self) -> WireParser:
        """SSE chunks."""
        return OpenAIParser(self._line_max)

    def refusal(self, status: int, body: bytes) -> Failure:
        """`{"error": {…}}`, or whatever stands before the engine."""
        return failures.refused(status, body)


class OllamaDialect:
    """Ollama: `/api/chat`. It continues a text that is the last assistant message."""

    def __init__(self, line_max: int = LINE_MAX) -> None:
        self._line_max = line_max

    def request(self, call: EngineCall) -> HttpRequest:
        """The streamed chat."""
        return HttpRequest("POST", "/api/chat", _JSON, msgspec.json.encode(chat_body(call)))

    def parser(self) -> WireParser:
        """NDJSON lines."""
        return OllamaParser(self._line_max)

    def refusal(self, status: int, body: bytes) -> Failure:
        """`{"error": "…"}`, or whatever stands before the engine."""
        return failures.refused(status, body)


class TensorFlowDialect:
    """TensorFlow Serving: `:predict`, whose whole answer is one Text."""

    def __init__(self, line_max: int = LINE_MAX) -> None:
        self._result_max = min(line_max, RESULT_MAX)

    def request(self, call: EngineCall) -> HttpRequest:
        """The prediction; nothing of how to sample applies to it."""
        return HttpRequest("POST", predict_path(call.model), _JSON, predict_body(call))

    def parser(self) -> WireParser:
        """One JSON object."""
        return PredictParser(self._result_max)

    def refusal(self, status: int, body: bytes) -> Failure:
        """`{"error": "…"}`, or whatever stands before the engine."""
        return failures.refused(status, body)


@lru_cache(maxsize=8)
def dialect_for(kind: EngineKind, line_max: int = LINE_MAX) -> Dialect:
    """The dialect of a kind of engine; `line_max` bounds one line of its stream, bytes.

    Raises ValueError for a kind that is not known.
    """
    if kind == "vllm":
        return OpenAIDialect(line_max)
    if kind == "ollama":
        return OllamaDialect(line_max)
    if kind == "tf_serving":
        return TensorFlowDialect(line_max)
    raise ValueError(f"no dialect for engines of kind {kind!r}")
