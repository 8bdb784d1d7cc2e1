"""vLLM's wire with a text that counts, so that loss and repetition show in the text itself.

The answer to any prompt is `w1 w2 w3 …`, `max_tokens` words of it; one that is to be
continued (`continue_final_message`) goes on behind its last word. A prompt that is a JSON
object `{"script": [...]}` is obeyed instead, step by step, one chunk each:

    {"text": "a"}  {"reasoning": "a"}  {"tool_call": {"id", "name", "arguments"}}
    {"finish": "stop"}  {"error": {"message", "code"}}  {"cut": true}  {"hold": true}
    {"echo": "results"}

`{"rounds": [[...], [...]]}` has such a script for each round of tool calls; `echo` says what
the tools have answered. Calls that follow each other in a script are one message's.

Words come in bursts, as speculative decoding has them; `--steady` one by one, evenly.
`POST /mood` says how answers that begin from then on go: see `Mood`.

    python -m tests.support.synthetic_engine --address 127.0.0.1 --port 8000 --rate 40
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import re
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from tests.support.real_engine import ServerProcess

MODEL = "synthetic"
_TICK_S = 0.05
# One stream a connection, as llama.cpp has it.
_HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n"
    b"Connection: close\r\n\r\n"
)
_END = b"0\r\n\r\n"


class SyntheticEngine(ServerProcess):
    """The engine in a process of its own."""

    def __init__(self, rate: float = 40.0, *, steady: bool = False) -> None:
        rhythm = ["--steady"] if steady else []
        super().__init__("tests.support.synthetic_engine", "--rate", str(rate), *rhythm)


@dataclass(frozen=True, slots=True)
class Mood:
    """`first_s` before the first word, `pause_s` after every `every`-th one; `rate` words a
    second where it is not 0, else that of the command line."""

    first_s: float = 0.0
    pause_s: float = 0.0
    every: int = 0
    rate: float = 0.0


class EngineCutError(Exception):
    """The script wants the connection to break."""


def word(number: int) -> str:
    """The token of that number, from 1."""
    return f"w{number} "


def words(count: int) -> str:
    """The text of so many tokens."""
    return "".join(word(n) for n in range(1, count + 1))


def tokens_of(text: str) -> int:
    """What a text costs: a token a word, and one for every line break."""
    return len(re.findall(r"\S+|\n", text))


class Answer:
    """One completion, as the request asks for it."""

    def __init__(self, body: dict[str, Any], rate: float, most: int, mood: Mood) -> None:
        self._body = body
        self._rate = mood.rate or rate
        self._most = most
        self._mood = mood
        messages = body["messages"]
        last = messages[-1]
        self.prefix = str(last["content"]) if last["role"] == "assistant" else ""
        self.continues = bool(self.prefix and body.get("continue_final_message"))
        self.results = [str(m["content"]) for m in messages if m["role"] == "tool"]
        asked = "".join(str(m["content"]) for m in messages if m["role"] == "user")
        prompt = "".join(str(m["content"]) for m in messages if m["role"] != "assistant")
        rounds = sum(bool(m.get("tool_calls")) for m in messages)
        self.script = _script(asked, rounds)
        self._calls = 0
        # A turn that is not continued is closed, and that costs tokens.
        closing = 0 if self.continues or not self.prefix else 4
        self.prompt_tokens = 8 + tokens_of(prompt) + tokens_of(self.prefix) + closing
        self.produced = 0

    async def chunks(self) -> AsyncIterator[bytes]:
        """The events of the stream, `[DONE]` last."""
        await asyncio.sleep(self._mood.first_s)
        yield self._chunk({"role": "assistant", "content": ""})
        async for piece in self._scripted() if self.script is not None else self._counting():
            yield piece
        yield self._event({"choices": [], "usage": self._usage()})
        yield b"data: [DONE]\n\n"

    async def _counting(self) -> AsyncIterator[bytes]:
        begun = len(self.prefix.split()) if self.continues else 0
        left = int(self._body.get("max_tokens") or 16)
        while left:
            burst = min(left, random.randint(1, self._most))
            for _ in range(burst):
                self.produced += 1
                yield self._chunk({"content": word(begun + self.produced)})
                if self._mood.every and not self.produced % self._mood.every:
                    await asyncio.sleep(self._mood.pause_s)
            left -= burst
            await asyncio.sleep(burst / self._rate)
        yield self._chunk({}, "length")

    async def _scripted(self) -> AsyncIterator[bytes]:
        assert self.script is not None
        for step in self.script:
            ((name, value),) = step.items()
            self.produced += name in ("text", "reasoning")
            match name:
                case "text":
                    yield self._chunk({"content": value})
                case "reasoning":
                    yield self._chunk({"reasoning_content": value})
                case "tool_call":
                    function = {"name": value["name"], "arguments": value["arguments"]}
                    call = {"index": self._calls, "type": "function", "function": function}
                    call["id"] = value["id"]
                    self._calls += 1
                    yield self._chunk({"tool_calls": [call]})
                case "echo":
                    self.produced += 1
                    yield self._chunk({"content": " and ".join(self.results)})
                case "finish":
                    yield self._chunk({}, value)
                case "error":
                    yield self._event({"error": value})
                case "hold":
                    await asyncio.Event().wait()
                case "cut":
                    raise EngineCutError
                case _:
                    raise ValueError(f"unknown step {name}")

    def _chunk(self, delta: dict[str, Any], reason: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
        return self._event({"choices": [choice]})

    def _event(self, members: dict[str, Any]) -> bytes:
        base = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": MODEL}
        return b"data: " + json.dumps(base | members, separators=(",", ":")).encode() + b"\n\n"

    def _usage(self) -> dict[str, int]:
        said = {"prompt_tokens": self.prompt_tokens, "completion_tokens": self.produced}
        return said | {"total_tokens": sum(said.values())}


def _script(asked: str, rounds: int) -> list[dict[str, Any]] | None:
    """What is to be said after so many rounds of tool calls."""
    if not asked.startswith(('{"script"', '{"rounds"')):
        return None
    wish = json.loads(asked)
    script: list[dict[str, Any]]
    script = wish["script"] if "script" in wish else wish["rounds"][rounds]
    return script


class Server:
    """HTTP as far as brokers and control planes use it."""

    def __init__(self, rate: float, steady: bool = False) -> None:
        self._rate = rate
        self._most = 1 if steady else max(1, round(2 * rate * _TICK_S))
        self._mood = Mood()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, request after request."""
        try:
            while await self._answer(await reader.readuntil(b"\r\n\r\n"), reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError, EngineCutError):
            pass  # Whoever asked has left, or is to be left.
        finally:
            writer.close()

    async def _answer(
        self, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        """Answers one request. Returns whether another may follow."""
        length = re.search(rb"(?i)content-length: *(\d+)", head)
        body = await reader.readexactly(int(length[1])) if length else b""
        path = head.split(b" ")[1]
        if path == b"/health":
            await self._whole(writer, {})
        elif path == b"/v1/models":
            await self._whole(writer, {"object": "list", "data": [{"id": MODEL}]})
        elif path == b"/mood":
            self._mood = Mood(**json.loads(body))
            await self._whole(writer, {})
        elif path.endswith(b"/v1/chat/completions"):
            answer = Answer(json.loads(body), self._rate, self._most, self._mood)
            await self._stream(answer, reader, writer)
            return False
        else:
            await self._whole(writer, {"detail": "Not Found"}, b"404 Not Found")
        return True

    async def _whole(
        self, writer: asyncio.StreamWriter, value: object, status: bytes = b"200 OK"
    ) -> None:
        text = json.dumps(value).encode()
        head = b"HTTP/1.1 %b\r\nContent-Length: %d\r\n\r\n" % (status, len(text))
        writer.write(head + text)
        await writer.drain()

    async def _stream(
        self, answer: Answer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Streams until the end, or until the client leaves: then generating stops."""
        streaming = asyncio.ensure_future(self._write(answer, writer))
        leaving = asyncio.ensure_future(reader.read(1))
        try:
            await asyncio.wait({streaming, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if not streaming.done():
                raise ConnectionResetError
            await streaming
        finally:
            for task in (streaming, leaving):
                task.cancel()
            await asyncio.gather(streaming, leaving, return_exceptions=True)

    async def _write(self, answer: Answer, writer: asyncio.StreamWriter) -> None:
        writer.write(_HEAD)
        async for event in answer.chunks():
            writer.write(b"%x\r\n%b\r\n" % (len(event), event))
            await writer.drain()
        writer.write(_END)
        await writer.drain()


async def serve(arguments: argparse.Namespace) -> None:
    """Serves until it is killed."""
    serving = Server(arguments.rate, arguments.steady).serve
    server = await asyncio.start_server(serving, arguments.address, arguments.port, backlog=1024)
    if arguments.ready_fd is not None:
        os.write(arguments.ready_fd, b"1")
    async with server:
        await server.serve_forever()


def _exit_with_stdin() -> None:
    sys.stdin.buffer.read()
    os._exit(0)


def main() -> None:
    """Serves until standard input ends (with `--ready-fd`) or until interrupted."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--address", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--rate", type=float, default=40.0, help="tokens a second and stream")
    parser.add_argument("--steady", action="store_true", help="one by one, no bursts")
    parser.add_argument("--ready-fd", type=int)
    arguments = parser.parse_args()
    if arguments.ready_fd is not None:
        threading.Thread(target=_exit_with_stdin, daemon=True).start()
    with suppress(KeyboardInterrupt):
        asyncio.run(serve(arguments))


if __name__ == "__main__":
    main()
