"""What cutting a token out of an engine's stream costs, by ways to do it.

    python bench/engine_parse.py [--tokens 20000] [--rounds 5]

One stream of content chunks as vLLM 0.32 writes them (about 235 bytes each, 340 with
`continuous_usage_stats`), parsed read by read; the tables show the best round, in
microseconds of CPU time a token. "a token a read" is the pace of an engine, "140 a read"
that of a backlog.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from unittest import mock

import msgspec

from stream_broker.engines.deltas import Text
from stream_broker.engines.openai import OpenAIParser

Feed = Callable[[bytes], int]
Way = Callable[[], AbstractContextManager[Feed]]
CHUNK = (
    'data: {"id":"chatcmpl-96cea8f5242bf53b","object":"chat.completion.chunk",'
    '"created":1795226004,"model":"smollm2-135m","choices":[{"index":0,"delta":{"content":%s},'
    '"logprobs":null,"finish_reason":null,"token_ids":null}]}\n\n'
)
COUNT = (
    ',"usage":{"prompt_tokens":37,"total_tokens":%d,"completion_tokens":%d,'
    '"completion_tokens_details":null}}\n\n'
)
WORDS = ["The", " capital", " of", " France", ",", ' "Paris"', "\n", " – ", "été", " 🍚"]


def reads(tokens: int, per_read: int, *, counted: bool) -> list[bytes]:
    """The stream, in reads of so many chunks; `counted`: with the usage so far in each."""
    chunks = [
        CHUNK % json.dumps(WORDS[number % len(WORDS)], ensure_ascii=False)
        for number in range(tokens)
    ]
    if counted:
        chunks = [
            chunk.removesuffix("}\n\n") + COUNT % (37 + number, number)
            for number, chunk in enumerate(chunks, 1)
        ]
    parts = ("".join(chunks[at : at + per_read]) for at in range(0, tokens, per_read))
    return [part.encode() for part in parts]


class Delta(msgspec.Struct):
    """The least that a chunk can be decoded to."""

    content: str | None = None


class Choice(msgspec.Struct):
    """As above."""

    delta: Delta


class Chunk(msgspec.Struct):
    """As above."""

    choices: list[Choice]


@contextmanager
def our_parser() -> Iterator[Feed]:
    """The parser as it is in service."""
    parser = OpenAIParser(1 << 20)
    yield lambda data: len(parser.feed(data))


@contextmanager
def our_parser_without_template() -> Iterator[Feed]:
    """The same with every chunk decoded in full."""
    parser = OpenAIParser(1 << 20)
    with mock.patch("stream_broker.engines.openai.learn", return_value=None):
        yield lambda data: len(parser.feed(data))


@contextmanager
def msgspec_alone() -> Iterator[Feed]:
    """A typed decode of each event: no split reads, no limits, no ends."""
    decode = msgspec.json.Decoder(Chunk).decode

    def texts(data: bytes) -> Iterator[Text]:
        for line in data.split(b"\n\n"):
            if line:
                yield Text(decode(line[6:]).choices[0].delta.content or "")

    yield lambda data: len(list(texts(data)))


@contextmanager
def json_alone() -> Iterator[Feed]:
    """The same with the standard library."""

    def texts(data: bytes) -> Iterator[Text]:
        for line in data.split(b"\n\n"):
            if line:
                yield Text(json.loads(line[6:])["choices"][0]["delta"]["content"] or "")

    yield lambda data: len(list(texts(data)))


WAYS: dict[str, Way] = {
    "OpenAIParser": our_parser,
    "OpenAIParser, no template": our_parser_without_template,
    "msgspec alone": msgspec_alone,
    "json alone": json_alone,
}


def measure(way: Way, pieces: list[bytes], tokens: int, rounds: int) -> float:
    """Microseconds of CPU time a token, the best of the rounds."""
    best = float("inf")
    for _ in range(rounds):
        with way() as feed:
            begin = time.process_time()
            found = sum(map(feed, pieces))
            best = min(best, time.process_time() - begin)
        assert found == tokens, f"{found} of {tokens} tokens"
    return best / tokens * 1e6


def main() -> None:
    """Prints the table."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--tokens", type=int, default=20_000)
    options.add_argument("--rounds", type=int, default=5)
    arguments = options.parse_args()
    streams = [
        reads(arguments.tokens, per_read, counted=counted)
        for counted in (False, True)
        for per_read in (1, 140)
    ]
    print("| us a token | a token a read | 140 a read | counted, a token | counted, 140 |")
    print("| --- | --- | --- | --- | --- |")
    for name, way in WAYS.items():
        figures = [measure(way, s, arguments.tokens, arguments.rounds) for s in streams]
        print(f"| {name} | " + " | ".join(f"{figure:.2f}" for figure in figures) + " |")


if __name__ == "__main__":
    main()
