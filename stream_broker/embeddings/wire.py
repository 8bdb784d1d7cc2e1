"""How each kind of engine is asked for embeddings, and what it answers. Pure.

vLLM and llama.cpp: `/v1/embeddings`; Ollama: `/api/embed` (its `docs/api.md`), for texts only.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from contracts.grants import EngineTarget
from stream_broker.embeddings.request import Item, size_of
from stream_broker.embeddings.vectors import Vector, floats_of, shares
from stream_broker.engines import failures
from stream_broker.engines.call import HttpRequest
from stream_broker.engines.deltas import Failure

_JSON: Final = (("Content-Type", "application/json"),)

# llama.cpp: "does not support embeddings. Start it with `--embeddings`" (501); vLLM: "does not
# support Embeddings API", or no such path (404, its own "Not Found"); Ollama: "this model does
# not support embeddings".
_NONE: Final = re.compile(r"not support (the )?embeddings?|pooling type 'none'", re.IGNORECASE)
_NO_PATH: Final = re.compile(rb'\A\s*\{\s*"detail"\s*:\s*"Not Found"\s*\}\s*\Z')
# llama.cpp, of a text that is longer than its batch or its context.
_TOO_LONG: Final = re.compile(r"too large to process|larger than the max context", re.IGNORECASE)
_DIMENSIONS: Final = re.compile(r"dimensions|matryoshka", re.IGNORECASE)


class EngineRefused(Exception):
    """The engine does not take this; another item or another model it may. `code` and `field`
    are the client's: `invalid_request` or `context_too_long`."""

    def __init__(self, code: str, message: str, field: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.field = field


class EngineFailed(Exception):
    """The engine is of no use now; another may be."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


def request_for(target: EngineTarget, items: Sequence[Item], dimensions: int | None) -> HttpRequest:
    """One call for these items, which are all texts or all token lists.

    Raises EngineRefused for token lists where the engine takes texts only.
    """
    body: dict[str, Any] = {"model": target.model, "input": list(items)}
    if dimensions is not None:
        body["dimensions"] = dimensions
    if target.kind == "ollama":
        if not isinstance(items[0], str):
            raise EngineRefused("invalid_request", "This model takes texts only", "input")
        # As everywhere: what does not fit is an error, and nothing is cut off in silence.
        body["truncate"] = False
        return HttpRequest("POST", "/api/embed", _JSON, msgspec.json.encode(body))
    body["encoding_format"] = "base64"
    return HttpRequest("POST", "/v1/embeddings", _JSON, msgspec.json.encode(body))


def vectors_in(target: EngineTarget, items: Sequence[Item], body: bytes) -> list[Vector]:
    """The vectors of an answer with status 200, in the order of the items.

    Raises EngineFailed for an answer that is none.
    """
    try:
        answer = msgspec.json.decode(body, type=dict[str, Any])
        listed, count = _ollama(answer) if target.kind == "ollama" else _openai(answer)
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise EngineFailed(failures.unreadable()) from error
    floats = [floats_of(told) for told in listed]
    whole = [one for one in floats if one is not None]
    if len(whole) != len(items) or len({len(one) for one in whole}) != 1:
        raise EngineFailed(failures.unreadable())
    sizes = [size_of(item) for item in items]
    parts = [size // 4 + 1 for size in sizes] if count is None else shares(count, sizes)
    return [Vector(one, tokens) for one, tokens in zip(whole, parts, strict=True)]


def refusal(status: int, body: bytes) -> EngineRefused | EngineFailed:
    """What an answer with another status says: that of the request, or of the engine."""
    words = failures.words_in(body)
    if _NONE.search(words) or (status == 404 and _NO_PATH.match(body)):
        return EngineRefused("invalid_request", "This model makes no embeddings", "model")
    failure = failures.refused(status, body)
    if failure.code == "context_too_long" or _TOO_LONG.search(words):
        told = "The text does not fit the model's context"
        return EngineRefused("context_too_long", told, "input")
    if status in (400, 413, 422):
        field = "dimensions" if _DIMENSIONS.search(words) else "input"
        return EngineRefused("invalid_request", failure.message, field)
    return EngineFailed(failure)


def _openai(answer: dict[str, Any]) -> tuple[list[Any], int | None]:
    data = sorted(answer["data"], key=lambda one: one["index"])
    if [one["index"] for one in data] != list(range(len(data))):
        raise ValueError("vectors of other items")
    return [one["embedding"] for one in data], _count(answer.get("usage"), "prompt_tokens")


def _ollama(answer: dict[str, Any]) -> tuple[list[Any], int | None]:
    embeddings = answer["embeddings"]
    if not isinstance(embeddings, list):
        raise TypeError("embeddings are a list")
    return embeddings, _count(answer, "prompt_eval_count")


def _count(told: Any, name: str) -> int | None:
    count = told.get(name) if isinstance(told, dict) else None
    return count if isinstance(count, int) and 0 <= count < 1 << 31 else None
