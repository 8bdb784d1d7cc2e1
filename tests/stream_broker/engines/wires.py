"""Helpers of the parser tests: recorded streams, and the ways to cut them."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
from hypothesis import HealthCheck, settings

from stream_broker.engines.deltas import Delta, Text
from stream_broker.engines.wire import WireParser

DATA = Path(__file__).parents[2] / "data" / "engines"

# The first run of all builds hypothesis' tables, which looks like slow generation; and
# a busy machine is no failure.
relaxed = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def recorded(name: str) -> bytes:
    return (DATA / name).read_bytes()


def parse(parser: WireParser, pieces: Iterable[bytes], *, complete: bool = True) -> list[Delta]:
    """All deltas of a body that comes in these pieces."""
    said = [delta for piece in pieces for delta in parser.feed(piece)]
    return said + parser.eof(complete)


def cut(data: bytes, places: Iterable[int]) -> list[bytes]:
    """`data` in pieces, cut at these places."""
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[a:b] for a, b in itertools.pairwise(edges)]


def text_of(deltas: list[Delta]) -> str:
    return "".join(delta.text for delta in deltas if isinstance(delta, Text))


def event(payload: Any) -> bytes:
    """One SSE event as vLLM writes it."""
    return b"data: " + msgspec.json.encode(payload) + b"\n\n"


def content(text: str, **more: Any) -> bytes:
    """The event of one content chunk."""
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": None} | more
    return event({"id": "c1", "object": "chat.completion.chunk", "choices": [choice]})


def finish(reason: str) -> bytes:
    """The event of a finish without content."""
    return event({"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]})


DONE = b"data: [DONE]\n\n"
