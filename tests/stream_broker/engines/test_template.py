"""The fast path says what the full decode says, whatever a chunk looks like."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any
from unittest import mock

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.grants import Usage
from stream_broker.engines.deltas import Delta, Failure, Finish, Text
from stream_broker.engines.openai import OpenAIParser
from stream_broker.engines.openai_chunk import decode_chunk
from stream_broker.engines.template import learn
from tests.stream_broker.engines.wires import (
    DONE,
    content,
    event,
    finish,
    parse,
    recorded,
    relaxed,
)

TRICKY = [
    '"content":"',
    '{"content":"x"}',
    "\\",
    '\\"',
    '"},"finish_reason":"stop"',
    "\n\n",
    "data: ",
    "é日🎉",
    "\u0000\u001f\u2028",
    "",
    "?",
    "not the text?",
]
texts = st.one_of(st.sampled_from(TRICKY), st.text(max_size=12))
ENVELOPES: list[dict[str, Any]] = [
    {"id": "c1", "model": "m"},
    {"id": "c2", "logprobs": {"content": []}, "note": '"content":"'},
    {"usage": None, "content": "not the text"},
    {"usage": {"prompt_tokens": 1, "completion_tokens": 2}},
    {"error": None},
]
numbers = st.one_of(st.integers(0, 1200), st.sampled_from([-1, 1 << 40, 1 << 80, 1.5, None]))
counts_of = st.fixed_dictionaries({"prompt_tokens": st.just(37), "completion_tokens": numbers})
deltas_of = st.fixed_dictionaries(
    {"content": st.one_of(texts, st.none())},
    optional={
        "role": st.just("assistant"),
        "reasoning": st.one_of(texts, st.none()),
        "tool_calls": st.just([{"index": 0, "function": {"name": "f", "arguments": "{}"}}]),
    },
)


def counted(name: str, function: Callable[..., Any]) -> AbstractContextManager[mock.Mock]:
    """Counts the calls of a function by the parser."""
    return mock.patch(f"stream_broker.engines.openai.{name}", wraps=function)


def slowly(pieces: list[bytes]) -> list[Delta]:
    """The same stream with the fast path off."""
    with mock.patch("stream_broker.engines.openai.learn", return_value=None):
        return parse(OpenAIParser(1 << 20), pieces)


@st.composite
def segments(draw: st.DrawFn) -> list[bytes]:
    """Some chunks in one envelope: the first teaches a template, the others try it."""
    envelope = draw(st.sampled_from(ENVELOPES))
    # llama.cpp has the delta last, vLLM in the middle.
    order = draw(st.permutations(["index", "delta", "finish_reason"]))
    spaced, counted_behind = draw(st.booleans()), draw(st.booleans())
    reasons = st.sampled_from([None] * 30 + ["stop"])
    pieces = []
    for said in draw(st.lists(deltas_of, max_size=6)):
        choice = {"index": 0, "delta": said, "finish_reason": draw(reasons)}
        body = {**envelope, "choices": [{key: choice[key] for key in order}]}
        if counted_behind:
            body |= {"usage": draw(counts_of), "more": draw(st.sampled_from([None, 7, "7", {}]))}
        text = json.dumps(body, ensure_ascii=draw(st.booleans())) if spaced else None
        pieces.append(b"data: " + (text.encode() if text else msgspec.json.encode(body)) + b"\n\n")
    return pieces


@relaxed
@given(st.lists(segments(), max_size=4))
def test_fast_equals_slow(stream: list[list[bytes]]) -> None:
    pieces = [*itertools.chain.from_iterable(stream), finish("stop"), DONE]
    assert parse(OpenAIParser(1 << 20), pieces) == slowly(pieces)


@relaxed
@given(st.lists(texts, max_size=20), st.binary(max_size=6))
def test_fast_equals_slow_on_broken_text(said: list[str], garbage: bytes) -> None:
    """Bytes that are no JSON string in the place of the text."""
    broken = content("x").replace(b'"x"', b'"' + garbage + b'"')
    pieces = [*map(content, said), broken, content("y"), finish("stop"), DONE]
    assert parse(OpenAIParser(1 << 20), pieces) == slowly(pieces)


@pytest.mark.parametrize("text", TRICKY)
def test_tricky_text_goes_through_the_template(text: str) -> None:
    stream = [content("first"), content(text), content("last"), finish("stop"), DONE]
    said = [delta.text for delta in parse(OpenAIParser(1 << 20), stream) if isinstance(delta, Text)]
    assert "".join(said) == f"first{text}last"


@pytest.mark.parametrize(
    "name", ["vllm_text.sse", "llamacpp_unicode.sse", "vllm_continuous_usage.sse"]
)
def test_real_chunks_take_the_fast_path(name: str) -> None:
    with counted("decode_chunk", decode_chunk) as full:
        said = parse(OpenAIParser(1 << 20), [recorded(name)])
    # The role, the first text (twice where `created` moved), the finish and the usage.
    assert full.call_count <= 5
    assert len(said) > 8


def counting(number: int, text: str = "x", **more: Any) -> bytes:
    """A chunk as vLLM writes it under `continuous_usage_stats`."""
    usage = {"prompt_tokens": 37, "total_tokens": 37 + number, "completion_tokens": number}
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": None}
    return event({"id": "c1", "choices": [choice], "usage": usage, **more})


def test_chunks_that_count_take_the_fast_path_and_the_last_count_is_known() -> None:
    parser = OpenAIParser(1 << 20)
    assert parser.usage() is None
    with counted("decode_chunk", decode_chunk) as full:
        for number in range(1, 1001):
            assert parser.feed(counting(number, TRICKY[number % 5] + "!"))
        assert full.call_count == 1
        assert parser.usage() == Usage(prompt_tokens=37, completion_tokens=1000)
        assert parser.usage() == Usage(prompt_tokens=37, completion_tokens=1000)
        assert full.call_count == 2


def test_the_last_count_is_the_latest_whichever_way_it_was_read() -> None:
    parser = OpenAIParser(1 << 20)
    for number in range(1, 5):
        parser.feed(counting(number))
    parser.feed(counting(5, other="another envelope"))
    assert parser.usage() == Usage(prompt_tokens=37, completion_tokens=5)
    parser.feed(counting(6, other="another envelope") + counting(7, other="another envelope"))
    assert parse(parser, [finish("stop"), DONE])[-1] == Finish(
        "stop", Usage(prompt_tokens=37, completion_tokens=7)
    )


def test_an_engine_that_fails_has_counted_until_then() -> None:
    parser = OpenAIParser(1 << 20)
    assert isinstance(parse(parser, [counting(1), counting(2), finish("abort"), DONE])[-1], Failure)
    assert parser.usage() == Usage(prompt_tokens=37, completion_tokens=2)


@pytest.mark.parametrize("count", ["007", ""])
def test_a_count_that_is_no_number_is_not_taken(count: str) -> None:
    wrong = counting(7).replace(b'"completion_tokens":7', b'"completion_tokens":' + count.encode())
    parser = OpenAIParser(1 << 20)
    for piece in (counting(1), counting(2), wrong):
        parser.feed(piece)
    usage = parser.usage()
    assert usage is None or usage.completion_tokens <= 2


def test_counts_that_none_can_be_are_cut_to_some_that_can() -> None:
    wild = {"prompt_tokens": -5, "completion_tokens": 1 << 60}
    (end,) = parse(OpenAIParser(1 << 20), [finish("stop"), event({"usage": wild}), DONE])
    assert isinstance(end, Finish)
    assert end.usage == Usage(prompt_tokens=0, completion_tokens=1 << 31)


def test_what_cannot_be_proven_is_not_learnt() -> None:
    decoy = b'{"x":{"content":"decoy"},"choices":[{"delta":{"content":"real"}}]}'
    assert learn(decoy, "real") is None
    twice = b'{"choices":[{"delta":{"content":"a","content":"b"}}]}'
    assert learn(twice, "b") is None


def test_learning_stops_where_no_template_ever_fits() -> None:
    stream = [content("x", n=number) for number in range(100)]
    with counted("learn", learn) as learning:
        said = parse(OpenAIParser(1 << 20), [*stream, finish("stop"), DONE])
    assert len(said) == 101
    assert learning.call_count <= 10


def test_a_template_that_served_is_learnt_anew_when_the_envelope_moves() -> None:
    """llama.cpp's `created` changes once a second."""
    stream = [content("x", n=number // 10) for number in range(1000)]
    with counted("decode_chunk", decode_chunk) as full:
        parse(OpenAIParser(1 << 20), [*stream, finish("stop"), DONE])
    assert full.call_count == 101
