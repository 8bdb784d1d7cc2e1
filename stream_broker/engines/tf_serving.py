"""TensorFlow Serving's predict call: one question, one JSON answer, no stream.

Source: TensorFlow Serving's "RESTful API" page. A request is an object with `instances` (by
row) or `inputs` (by column); the answer has `predictions` or `outputs` alike, and may hold
`NaN` and `Infinity`, which JSON does not know. An error is `{"error": "…"}`.
"""

from __future__ import annotations

import json
from typing import Any, Final
from urllib.parse import quote

import msgspec

from contracts.grants import Usage
from stream_broker.engines import failures
from stream_broker.engines.call import EngineCall
from stream_broker.engines.deltas import Delta, Failure, Finish, Text

# Of one answer in bytes: it becomes one event, of a log of 1 MiB, with its quotes escaped.
RESULT_MAX: Final = 256 << 10
_ASKS: Final = ("instances", "inputs")
_TELLS: Final = ("predictions", "outputs")


def predict_path(model: str) -> str:
    """The path of a model's predictions."""
    return f"/v1/models/{quote(model, safe='')}:predict"


def predict_body(call: EngineCall) -> bytes:
    """The last user message, as it is where it is a request already: an object with
    `instances` or `inputs`, or an array (the instances). Else it is the one instance."""
    text = _last_said(call.messages)
    try:
        asked = msgspec.json.decode(text)
    except (ValueError, RecursionError):
        asked = None
    if isinstance(asked, dict) and any(name in asked for name in _ASKS):
        return text.encode()
    if isinstance(asked, list):
        return b'{"instances":%b}' % text.encode()
    return msgspec.json.encode({"instances": [text]})


def _last_said(messages: list[dict[str, Any]]) -> str:
    for message in reversed(messages):
        if message.get("role") == "user":
            return _text_in(message.get("content"))
    return ""


def _text_in(content: Any) -> str:
    if not isinstance(content, list):
        return content or ""
    return "\n".join(str(part.get("text")) for part in content if part.get("type") == "text")


class PredictParser:
    """The body of one answer to one Text, the result as compact JSON (see `wire.WireParser`).

    `result_max` bounds it in bytes.
    """

    __slots__ = ("_body", "_over", "_result_max")

    def __init__(self, result_max: int) -> None:
        self._body = bytearray()
        self._result_max = result_max
        self._over = False

    def feed(self, data: bytes) -> list[Delta]:
        """Nothing, until the answer is whole; a Failure as soon as it is too long."""
        if self._over:
            return []
        self._body += data
        if len(self._body) <= self._result_max:
            return []
        self._body.clear()
        return self._end(failures.answer_too_long())

    def eof(self, complete: bool) -> list[Delta]:
        """The end of the body; `complete` if HTTP says that nothing is missing."""
        if self._over:
            return []
        if not complete:
            return self._end(failures.truncated())
        return self._end(*_result_in(bytes(self._body)))

    def usage(self) -> Usage | None:
        """TensorFlow Serving counts nothing."""
        return None

    def _end(self, *deltas: Delta) -> list[Delta]:
        self._over = True
        return list(deltas)


def _result_in(body: bytes) -> tuple[Delta, ...]:
    try:
        # Not msgspec: it refuses the numbers that TensorFlow Serving adds to JSON.
        answer = json.loads(body)
        if not isinstance(answer, dict):
            return (failures.unreadable(),)
        if not any(name in answer for name in _TELLS):
            return (_refused(answer),)
        result = _compact(body, answer)
    except (ValueError, RecursionError):
        return (failures.unreadable(),)
    return Text(result), Finish("stop")


def _refused(answer: dict[str, Any]) -> Failure:
    if "error" in answer:
        return failures.told_in_stream(answer["error"])
    return failures.unreadable()


def _compact(body: bytes, answer: dict[str, Any]) -> str:
    """The numbers stay as they were written, where that is JSON."""
    try:
        return msgspec.json.format(body, indent=-1).decode()
    except (ValueError, RecursionError):
        return json.dumps(answer, separators=(",", ":"), ensure_ascii=False)
