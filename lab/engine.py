"""vLLM's wire on .30 of the lab, for drills: an even rate of tokens at next to no cost.

A host runs this file by itself, with the Python it has: so it needs nothing else. The answer to
any prompt is `w1@T w2@T …`, `max_tokens` words of it, T the milliseconds of the machine's clock
at which a word was sent (all hosts of the lab have one clock): a gap that a client sees can so
be told from one that the engine made. `rate=N` in the prompt asks for N words a second. What is
to be continued goes on behind its last word.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

MODEL = "drill"
# Of a word, behind its number.
SENT = re.compile(r"w(\d+)@(\d+) ")
_RATE = re.compile(r"rate=([0-9.]+)")
_HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n"
    b"Connection: close\r\n\r\n"
)


def tokens_of(text: str) -> int:
    """What a text costs: a token a word, and one for every line break."""
    return len(re.findall(r"\S+|\n", text))


class Answer:
    """One completion."""

    def __init__(self, body: dict[str, Any], rate: float) -> None:
        messages = body["messages"]
        wish = _RATE.search("".join(str(m["content"]) for m in messages if m["role"] == "user"))
        self._rate = float(wish[1]) if wish else rate
        last = messages[-1]
        prefix = str(last["content"]) if last["role"] == "assistant" else ""
        continues = bool(prefix and body.get("continue_final_message"))
        self._begun = len(prefix.split()) if continues else 0
        self._left = int(body.get("max_tokens") or 16)
        asked = sum(tokens_of(str(m["content"])) for m in messages)
        # A turn that is not continued is closed, and that costs tokens.
        self._prompt = 8 + asked + (4 if prefix and not continues else 0)

    async def chunks(self) -> AsyncIterator[bytes]:
        """The events of the stream, `[DONE]` last."""
        yield self._chunk({"role": "assistant", "content": ""})
        began = asyncio.get_running_loop().time()
        for number in range(self._left):
            due = began + number / self._rate
            await asyncio.sleep(due - asyncio.get_running_loop().time())
            sent = int(time.time() * 1000)
            yield self._chunk({"content": f"w{self._begun + number + 1}@{sent} "})
        yield self._chunk({}, "length")
        usage = {"prompt_tokens": self._prompt, "completion_tokens": self._left}
        usage["total_tokens"] = sum(usage.values())
        yield _event({"choices": [], "usage": usage})
        yield b"data: [DONE]\n\n"

    def _chunk(self, delta: dict[str, Any], reason: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
        return _event({"choices": [choice]})


def _event(members: dict[str, Any]) -> bytes:
    base = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": MODEL}
    return b"data: " + json.dumps(base | members, separators=(",", ":")).encode() + b"\n\n"


async def _serve(rate: float, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One connection, request after request; a stream is its last."""
    with suppress(ConnectionError, asyncio.IncompleteReadError):
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"(?i)content-length: *(\d+)", head)
            body = await reader.readexactly(int(length[1])) if length else b""
            path = head.split(b" ")[1]
            if path.endswith(b"/v1/chat/completions"):
                await _stream(Answer(json.loads(body), rate), reader, writer)
                break
            known = {b"/health": {}, b"/v1/models": {"object": "list", "data": [{"id": MODEL}]}}
            _whole(writer, known.get(path))
            await writer.drain()
    writer.close()


def _whole(writer: asyncio.StreamWriter, value: object | None) -> None:
    status = b"200 OK" if value is not None else b"404 Not Found"
    text = json.dumps({"detail": "Not Found"} if value is None else value).encode()
    writer.write(b"HTTP/1.1 %b\r\nContent-Length: %d\r\n\r\n" % (status, len(text)) + text)


async def _stream(
    answer: Answer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Streams until the end, or until the client leaves: then generating stops."""

    async def write() -> None:
        writer.write(_HEAD)
        async for event in answer.chunks():
            writer.write(b"%x\r\n%b\r\n" % (len(event), event))
            await writer.drain()
        writer.write(b"0\r\n\r\n")
        await writer.drain()

    tasks = [asyncio.ensure_future(write()), asyncio.ensure_future(reader.read(1))]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _main(address: str, port: int, rate: float) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _serve(rate, reader, writer)

    server = await asyncio.start_server(serve, address, port)
    await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--address", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--rate", type=float, default=40.0, help="tokens a second and stream")
    given = parser.parse_args()
    with suppress(KeyboardInterrupt):
        asyncio.run(_main(given.address, given.port, given.rate))
