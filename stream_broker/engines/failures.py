"""How an engine's errors are told to a client: which code, and in which words.

What an engine says of itself (stack traces, paths, pages of HTML) stays here. Only the
sentence with which it refuses a request may go on, if it is plain.
"""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec

from stream_broker.engines.deltas import MESSAGE_MAX, Failure

FAILED: Final = "The engine failed while it was answering."
UNREADABLE: Final = "The engine sent something that cannot be read."
TOO_LONG: Final = "The engine sent a line that is too long."
ANSWER_TOO_LONG: Final = "The engine's answer is too long."
TRUNCATED: Final = "The engine ended the answer before it was complete."
CONTEXT_TOO_LONG: Final = "The prompt and the answer do not fit the model's context."

# The words of vLLM (max_model_len, maximum context length, maximum model length),
# llama.cpp (exceed_context_size_error, available context size), the OpenAI API
# (context_length_exceeded) and Ollama (exceeds the context length, max context length).
_CONTEXT: Final = re.compile(
    r"exceed_context_size|context_length_exceeded|max(imum)? context length"
    r"|exceeds? the (available )?context|max_model_len|maximum model length",
    re.IGNORECASE,
)
# A sentence with a path, an address, markup or code in it is not for a client.
_INTERNALS: Final = re.compile(
    r"[<>{}\\\r\n\t\x00-\x1f]|/|0x|Traceback|\bFile \"|\d+\.\d+\.\d+\.\d+"
)


def unreachable() -> Failure:
    """No connection to the engine."""
    return Failure("engine_unreachable", "The engine cannot be reached.")


def hung_up() -> Failure:
    """The connection closed before a byte of the answer."""
    return Failure("engine_unreachable", "The engine hung up before it answered.")


def stalled() -> Failure:
    """Silence beyond the idle timeout."""
    return Failure("engine_stalled", "The engine has stopped answering.")


def truncated() -> Failure:
    """The stream ended without a clean end."""
    return Failure("engine_truncated", TRUNCATED)


def unreadable() -> Failure:
    """The engine broke the wire format."""
    return Failure("engine_error", UNREADABLE)


def line_too_long() -> Failure:
    """The engine sent a line over the limit."""
    return Failure("engine_error", TOO_LONG)


def answer_too_long() -> Failure:
    """The engine's answer, which has no parts, is over the limit."""
    return Failure("engine_error", ANSWER_TOO_LONG)


def told_in_stream(error: Any) -> Failure:
    """An error that the engine reports inside a stream: an object, or a text (Ollama)."""
    if _CONTEXT.search(_words_of(error)):
        return Failure("context_too_long", CONTEXT_TOO_LONG)
    return Failure("engine_error", FAILED)


def refused(status: int, body: bytes) -> Failure:
    """An HTTP answer other than 200, of any engine: JSON with an `error`, or anything."""
    error = _error_in(body)
    words = _words_of(error)
    if status >= 400 and _CONTEXT.search(words):
        return Failure("context_too_long", CONTEXT_TOO_LONG)
    if 300 <= status < 400:
        return Failure("engine_error", "The engine redirected the request, which is not followed.")
    if status in (429, 503):
        return Failure("engine_error", "The engine is busy or not ready.")
    sentence = _sentence_of(error) if status in (400, 422) else ""
    told = f": {sentence}" if sentence else "."
    message = f"The engine refused the request (HTTP {status}){told}"
    return Failure("engine_error", message, of_request=status in (400, 413, 422))


def words_in(body: bytes) -> str:
    """All that a refusal's body says, to be searched; nothing where it is not JSON."""
    return _words_of(_error_in(body))


def _error_in(body: bytes) -> Any:
    try:
        answer = msgspec.json.decode(body)
    except (ValueError, RecursionError):
        return None
    return answer.get("error", answer) if isinstance(answer, dict) else None


def _words_of(error: Any) -> str:
    """All that an error says, to be searched: type, code and message, or the text."""
    if isinstance(error, dict):
        return " ".join(str(error.get(key, "")) for key in ("type", "code", "message"))
    return error if isinstance(error, str) else ""


def _sentence_of(error: Any) -> str:
    """The engine's own sentence if it is plain, bounded; else nothing."""
    sentence = error.get("message") if isinstance(error, dict) else error
    if not isinstance(sentence, str) or _INTERNALS.search(sentence):
        return ""
    room = MESSAGE_MAX - 60
    return sentence if len(sentence) <= room else sentence[: room - 1] + "…"
