"""The fields of an OpenAI stream chunk that matter here, as vLLM and llama.cpp send them."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from contracts.grants import Usage

# More than any answer has, and what the control plane takes.
_COUNT_MAX: Final = 1 << 31


class FunctionPart(msgspec.Struct, gc=False):
    """The first part of a call has the name, the others more of `arguments`."""

    name: str | None = None
    arguments: str | None = None


class CallPart(msgspec.Struct):
    """A part of one tool call; parts of the same call have the same index."""

    index: int = 0
    id: str | None = None
    function: FunctionPart | None = None


class ChunkDelta(msgspec.Struct):
    """What the answer grows by. vLLM says `reasoning`, llama.cpp `reasoning_content`."""

    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    tool_calls: list[CallPart] | None = None


class Choice(msgspec.Struct):
    """One of the answers; only one is ever asked for."""

    delta: ChunkDelta | None = None
    finish_reason: str | None = None


class PromptDetails(msgspec.Struct, gc=False):
    """Prompt tokens that came out of the engine's prefix cache."""

    cached_tokens: int | None = None


class ChunkUsage(msgspec.Struct):
    """Token counts so far, or of the whole answer in the last chunk."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    prompt_tokens_details: PromptDetails | None = None

    def counted(self) -> Usage:
        """The same in our words. A count that none can be is cut to one that is settled."""
        details = self.prompt_tokens_details
        return Usage(
            prompt_tokens=_count(self.prompt_tokens),
            completion_tokens=_count(self.completion_tokens),
            cached_tokens=_count((details.cached_tokens or 0) if details else 0),
        )


def _count(told: int) -> int:
    return min(max(0, told), _COUNT_MAX)


class Chunk(msgspec.Struct):
    """One event of the stream; all other fields are skipped undecoded."""

    choices: list[Choice] | None = None
    usage: ChunkUsage | None = None
    error: Any = None

    def only_text(self) -> str | None:
        """The content, if the chunk adds nothing else to the answer; None otherwise."""
        if self.error is not None or not self.choices:
            return None
        choice = self.choices[0]
        said = choice.delta
        if choice.finish_reason is not None or said is None:
            return None
        if said.reasoning_content or said.reasoning or said.tool_calls:
            return None
        return said.content


_decode: Final = msgspec.json.Decoder(Chunk).decode


def decode_chunk(data: bytes) -> Chunk | None:
    """A chunk out of its JSON; None if it is none.

    Invalid UTF-8 is read as WHATWG reads it, with U+FFFD in its place.
    """
    try:
        return _decode(data)
    except UnicodeDecodeError:
        return decode_chunk(data.decode("utf-8", "replace").encode())
    except (msgspec.DecodeError, RecursionError):
        return None
