"""An engine that answers at once, by vLLM's wire: thousands of tokens cost no model.

Each answer is `w1 w2 w3 …`, as many words as `max_tokens` asks for, in chunks like vLLM's.

    python -m tests.support.fast_engine --port 8000
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
from functools import cache

from tests.support.real_engine import ServerProcess

MODEL = "fast"
PIECE = 50
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: %b\r\n%b\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"


class FastEngine(ServerProcess):
    """The engine in a process of its own."""

    def __init__(self) -> None:
        super().__init__("tests.support.fast_engine")


def word(number: int) -> str:
    """The text of one token."""
    return f"w{number} "


def text(tokens: int) -> str:
    """A whole answer."""
    return "".join(map(word, range(1, tokens + 1)))


def _event(**members: object) -> bytes:
    chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": MODEL}
    return b"data: " + json.dumps(chunk | members).encode() + b"\n\n"


@cache
def _token(number: int) -> bytes:
    delta = {"content": word(number)}
    return _event(choices=[{"index": 0, "delta": delta, "finish_reason": None}])


async def _answer(writer: asyncio.StreamWriter, tokens: int) -> None:
    writer.write(HEAD % (b"text/event-stream", CHUNKED))
    for first in range(1, tokens + 1, PIECE):
        piece = b"".join(_token(n) for n in range(first, min(first + PIECE, tokens + 1)))
        writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
        await writer.drain()
        await asyncio.sleep(0)  # Others have their turn also where nobody has to wait.
    usage = {"prompt_tokens": 1, "completion_tokens": tokens, "total_tokens": tokens + 1}
    end = _event(choices=[{"index": 0, "delta": {}, "finish_reason": "length"}])
    end += _event(choices=[], usage=usage) + b"data: [DONE]\n\n"
    writer.write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(end), end))
    await writer.drain()


async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            lengths = [line for line in head.lower().split(b"\r\n") if b"content-length" in line]
            length = int(lengths[0].split(b":")[1]) if lengths else 0
            body = await reader.readexactly(length)
            if head.startswith(b"POST"):
                await _answer(writer, json.loads(body)["max_tokens"])
            else:
                writer.write(HEAD % (b"text/plain", b"Content-Length: 2\r\n") + b"ok")
    except (OSError, asyncio.IncompleteReadError):
        pass  # The client may leave at any time.
    finally:
        writer.close()


async def serve(port: int, ready_fd: int | None) -> None:
    """Serves until standard input ends."""
    server = await asyncio.start_server(_serve, "127.0.0.1", port, backlog=4096)
    if ready_fd is not None:
        os.write(ready_fd, b"1")
    await asyncio.to_thread(sys.stdin.buffer.read)
    server.close()
    os._exit(0)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--ready-fd", type=int)
    arguments = parser.parse_args()
    asyncio.run(serve(arguments.port, arguments.ready_fd))
