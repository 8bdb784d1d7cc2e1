"""A synthetic vLLM: streamed chat completions at a pace that the request asks for.

    python -m bench.engine --listen ADDRESS:PORT

`/v1/chat/completions` answers as `bench/ask.py` says, with at most `max_tokens`; `/health`
and `/v1/models` as vLLM does; `/bench/stats` counts streams and tokens; `/bench/finish` ends
all that run.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import socket
import time
from dataclasses import replace
from typing import Any, cast

import httptools
import uvloop

from bench.ask import MODEL, Ask, parse
from bench.chunks import Chunks
from bench.lan import make_shallow
from bench.wheel import Wheel

_BACKLOG = 8192
_TICK_S = 0.001
_FLOOD_TOKENS = 16  # a write of about 4 KiB when a stream goes as fast as it can
# A paced stream is late rather than held back: a generating engine does not slow down. Only
# a reader that has stopped for good is waited for.
_BEHIND_MAX = 1 << 20


class Answer:
    """One running stream."""

    def __init__(self, engine: Engine, out: Connection, ask: Ask) -> None:
        self._engine = engine
        self._out = out
        self._ask = ask
        self._chunks = Chunks(ask.stream)
        self._number = 0
        self._due = time.monotonic() + ask.start
        self._finishing = False
        self.over = False

    def begin(self) -> None:
        """The first token, now or at its time."""
        if self._ask.start > 0:
            self._engine.wheel.add(self._due, self)
        else:
            self.fall_due()

    def fall_due(self) -> None:
        """Writes what is due and plans what comes after it."""
        ask = self._ask
        if self.over or self._stuck():
            return
        self._write(ask.burst if ask.rate else _FLOOD_TOKENS)
        if self.over or ask.hold:
            return
        if ask.rate:
            self._due += ask.burst / ask.rate
            self._engine.wheel.add(self._due, self)
        else:
            # Its turn comes after every other stream that also wants to write.
            asyncio.get_running_loop().call_soon(self.fall_due)

    def finish(self) -> None:
        """What it writes next is its last."""
        self._finishing = True
        self._engine.wheel.add(time.monotonic(), self)

    def resume(self) -> None:
        """The socket takes bytes again."""
        if not self._ask.rate:
            self.fall_due()

    def _stuck(self) -> bool:
        if not self._ask.rate:
            return self._out.paused
        if self._out.unsent() < _BEHIND_MAX:
            return False
        self._engine.wheel.add(time.monotonic() + 0.05, self)
        return True

    def _write(self, count: int) -> None:
        limit = self._ask.tokens
        if self._ask.hold:
            count = 1
        elif limit:
            count = min(count, limit - self._number)
        ending = self._finishing or (limit and self._number + count >= limit)
        parts = [b"" if self._number else self._chunks.opening()]
        for left in range(count - 1, -1, -1):
            self._number += 1
            last = bool(ending) and left == 0
            parts.append(self._chunks.token(self._number, time.monotonic_ns(), last))
        self._engine.tokens += count
        if ending:
            parts.append(self._chunks.ending(self._number))
            self.over = True
            self._engine.ended += 1
        self._out.send(b"".join(parts))
        if ending:
            self._out.finished()


class Engine:
    """All answers of the process, and what they have in common."""

    def __init__(self) -> None:
        self.wheel: Wheel[Answer] = Wheel(time.monotonic())
        self.running: set[Answer] = set()
        self.begun = 0
        self.ended = 0
        self.tokens = 0

    def finish(self) -> None:
        """Every stream that runs now writes one more token, its last."""
        for answer in self.running:
            answer.finish()

    def stats(self) -> dict[str, int]:
        """Counts since the start, and the streams that run now."""
        return {
            "running": len(self.running),
            "begun": self.begun,
            "ended": self.ended,
            "tokens": self.tokens,
        }

    async def run(self) -> None:
        """Ticks until cancelled."""
        loop = asyncio.get_running_loop()

        def tick() -> None:
            for answer in self.wheel.take(time.monotonic()):
                answer.fall_due()
            loop.call_later(_TICK_S, tick)

        tick()
        await loop.create_future()


class Connection(asyncio.Protocol):
    """One connection from a proxy: requests in, one answer at a time out."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._answer: Answer | None = None
        self._url = b""
        self._body: list[bytes] = []
        self.paused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._descriptor = transport.get_extra_info("socket").fileno()
        self._transport.set_write_buffer_limits(high=0)
        self._parser = httptools.HttpRequestParser(self)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, ValueError):
            self.close()

    def connection_lost(self, _: Exception | None) -> None:
        if self._answer is not None:
            self._answer.over = True
            self._engine.running.discard(self._answer)

    def pause_writing(self) -> None:
        self.paused = True

    def resume_writing(self) -> None:
        self.paused = False
        if self._answer is not None:
            self._answer.resume()

    def on_url(self, url: bytes) -> None:
        """A request begins (httptools)."""
        self._url += url

    def on_body(self, body: bytes) -> None:
        """A part of its body (httptools)."""
        self._body.append(body)

    def on_message_complete(self) -> None:
        """The request is whole (httptools)."""
        url, body = self._url, b"".join(self._body)
        self._url, self._body = b"", []
        match url:
            case b"/v1/chat/completions":
                self._begin(json.loads(body))
            case b"/bench/finish":
                self._engine.finish()
                self._say(self._engine.stats())
            case b"/bench/stats":
                self._say(self._engine.stats())
            case b"/v1/models":
                model = {"id": MODEL, "object": "model", "created": 0, "owned_by": "bench"}
                self._say({"object": "list", "data": [model]})
            case _:
                self._say({})

    def close(self) -> None:
        """Cuts the connection."""
        self._transport.abort()

    def unsent(self) -> int:
        """Bytes that the socket has not taken yet."""
        return self._transport.get_write_buffer_size()

    def send(self, data: bytes) -> None:
        """Writes at once, past uvloop, which would wait for the end of its turn: by then the
        time that stands in the token were that of the whole tick's work."""
        sent = 0
        if not self.unsent():
            try:
                sent = os.write(self._descriptor, data)
            except OSError:  # full, or broken: the transport finds out which
                sent = 0
        if sent < len(data):
            self._transport.write(data[sent:])

    def finished(self) -> None:
        """The answer has ended; the next request may come."""
        if self._answer is not None:
            self._engine.running.discard(self._answer)
        self._answer = None

    def _begin(self, request: dict[str, Any]) -> None:
        content = request["messages"][-1]["content"]
        if not isinstance(content, str):
            content = " ".join(part.get("text", "") for part in content)
        ask = parse(content)
        # As real engines do; who tries an engine out asks for no more than it will read.
        most = request.get("max_tokens") or ask.tokens
        ask = replace(ask, tokens=min(ask.tokens or most, most))
        answer = self._answer = Answer(self._engine, self, ask)
        self._engine.running.add(answer)
        self._engine.begun += 1
        answer.begin()

    def _say(self, said: dict[str, Any]) -> None:
        body = json.dumps(said).encode()
        head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
        self._transport.write(head % len(body) + body)


async def serve(address: str, port: int) -> None:
    """Serves until cancelled."""
    engine = Engine()
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    make_shallow(sock)
    sock.bind((address, port))
    loop = asyncio.get_running_loop()
    await loop.create_server(lambda: Connection(engine), sock=sock, backlog=_BACKLOG)
    await engine.run()


def main() -> None:
    """The command line."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--listen", required=True, metavar="ADDRESS:PORT")
    address, _, port = options.parse_args().listen.rpartition(":")
    uvloop.run(serve(address, int(port)))


if __name__ == "__main__":
    main()
