"""What engines of each kind are asked, and how their answers and refusals are read."""

from __future__ import annotations

import json
from typing import Any

import pytest

from contracts.grants import EngineKind, EngineTarget
from stream_broker.embeddings.wire import (
    EngineFailed,
    EngineRefused,
    refusal,
    request_for,
    vectors_in,
)


def target(kind: EngineKind = "vllm") -> EngineTarget:
    return EngineTarget(kind=kind, base_url="http://127.0.0.1:1", model="theirs")


def test_each_kind_is_asked_in_its_words() -> None:
    openai = request_for(target(), ["a", "b"], 4)
    assert openai.path == "/v1/embeddings"
    assert json.loads(openai.body) == {
        "model": "theirs",
        "input": ["a", "b"],
        "dimensions": 4,
        "encoding_format": "base64",
    }
    ollama = request_for(target("ollama"), ["a"], None)
    assert ollama.path == "/api/embed"
    assert json.loads(ollama.body) == {"model": "theirs", "input": ["a"], "truncate": False}


def test_ollama_takes_no_tokens() -> None:
    with pytest.raises(EngineRefused, match="texts only") as raised:
        request_for(target("ollama"), [[1, 2]], None)
    assert raised.value.field == "input"


@pytest.mark.parametrize(
    "answer",
    [
        b"<html></html>",
        b"[]",
        b"{}",
        b'{"data": null}',
        b'{"data": [{"index": 0}]}',
        b'{"data": [{"index": 0, "embedding": [1.0]}]}',
        b'{"data": [{"index": 0, "embedding": [1]}, {"index": 0, "embedding": [1]}]}',
        b'{"data": [{"index": 0, "embedding": [1]}, {"index": 1, "embedding": [1, 2]}]}',
        b'{"data": [{"index": "0", "embedding": [1]}, {"index": 1, "embedding": [1]}]}',
        b'{"data": [{"index": 0, "embedding": [1]}, {"index": 1, "embedding": "?"}]}',
        b'{"data": ' + b"[" * 50_000,
    ],
)
def test_an_answer_that_is_none_is_the_engine_s_failure(answer: bytes) -> None:
    with pytest.raises(EngineFailed) as raised:
        vectors_in(target(), ["a", "b"], answer)
    assert raised.value.failure.code == "engine_error"


@pytest.mark.parametrize("answer", [b"{}", b'{"embeddings": {"a": 1}}', b'{"embeddings": [[]]}'])
def test_so_it_is_with_ollama(answer: bytes) -> None:
    with pytest.raises(EngineFailed):
        vectors_in(target("ollama"), ["a"], answer)


def test_an_engine_that_counts_nothing_is_estimated() -> None:
    answer = b'{"embeddings": [[1.0], [2.0]]}'
    assert [v.tokens for v in vectors_in(target("ollama"), ["a" * 8, "b"], answer)] == [3, 1]


NONE = {"code": 501, "message": "This server does not support embeddings. Start it with `--x`"}


@pytest.mark.parametrize(
    ("status", "body", "code", "field"),
    [
        (501, {"error": NONE}, "invalid_request", "model"),
        (400, {"error": {"message": "The model does not support Embeddings API"}},
         "invalid_request", "model"),
        (404, {"detail": "Not Found"}, "invalid_request", "model"),
        (500, {"error": "this model does not support embeddings"}, "invalid_request", "model"),
        (400, {"error": {"message": "maximum context length is 512 tokens"}},
         "context_too_long", "input"),
        (500, {"error": {"message": "input (101 tokens) is too large to process"}},
         "context_too_long", "input"),
        (400, {"error": "the input length exceeds the context length"},
         "context_too_long", "input"),
        (400, {"error": {"message": "Model does not support matryoshka representation"}},
         "invalid_request", "dimensions"),
        (422, {"error": {"message": "token id 99 is out of vocabulary"}},
         "invalid_request", "input"),
    ],
)  # fmt: skip
def test_a_refusal_is_the_request_s(status: int, body: Any, code: str, field: str) -> None:
    refused = refusal(status, json.dumps(body).encode())
    assert isinstance(refused, EngineRefused)
    assert (refused.code, refused.field) == (code, field)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (404, b'{"error": {"message": "The model `x` does not exist."}}'),
        (404, b"<html>embedding</html>"),
        (500, b""),
        (503, b'{"error": "loading"}'),
        (302, b""),
    ],
)
def test_all_else_is_the_engine_s(status: int, body: bytes) -> None:
    assert isinstance(refusal(status, body), EngineFailed)
