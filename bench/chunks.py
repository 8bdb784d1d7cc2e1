"""The bytes of a streamed chat completion as vLLM writes them, one HTTP chunk an event."""

from __future__ import annotations

import json
from typing import Final

from bench.ask import MODEL
from bench.tokens import write_token

HEAD: Final = (
    b"HTTP/1.1 200 OK\r\nserver: uvicorn\r\ncontent-type: text/event-stream; charset=utf-8\r\n"
    b"transfer-encoding: chunked\r\n\r\n"
)
_CREATED: Final = 1795226004


def http_chunk(body: bytes) -> bytes:
    """One chunk of a chunked body."""
    return b"%x\r\n%b\r\n" % (len(body), body)


class Chunks:
    """Every event of one answer. Token events are all of one length, so made by one join."""

    def __init__(self, stream: int) -> None:
        self._stream = stream
        self._base = {
            "id": f"chatcmpl-{stream:08x}",
            "object": "chat.completion.chunk",
            "created": _CREATED,
            "model": MODEL,
        }
        hole = write_token(stream, 0, 0, last=False)
        self._before, self._after = self._event({"content": hole.decode()}).split(hole)

    def opening(self) -> bytes:
        """The head of the response and the role."""
        return HEAD + self._event({"role": "assistant", "content": ""})

    def token(self, number: int, now_ns: int, last: bool) -> bytes:
        """A token's event."""
        return self._before + write_token(self._stream, number, now_ns, last) + self._after

    def ending(self, tokens: int) -> bytes:
        """Finish reason, usage, `[DONE]` and the end of the body."""
        usage = {"prompt_tokens": 8, "total_tokens": 8 + tokens, "completion_tokens": tokens}
        said = self._base | {"choices": [], "usage": usage}
        finish = self._event({"content": ""}, "stop")
        return finish + _data(said) + http_chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n"

    def _event(self, delta: dict[str, str], finish: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return _data(self._base | {"choices": [choice | {"token_ids": None}]})


def _data(chunk: dict[str, object]) -> bytes:
    return http_chunk(b"data: %b\n\n" % json.dumps(chunk, separators=(",", ":")).encode())
