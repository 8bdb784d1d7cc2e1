"""Ollama's wire: proven with its own client, then spoken by ours, a real model behind."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import httpx
import ollama
import pytest
from msgspec.json import encode
from ollama._types import ChatResponse

from contracts.grants import EngineTarget, Usage
from stream_broker.embeddings.engines import EmbeddingEngines
from stream_broker.embeddings.wire import EngineRefused
from stream_broker.engines.call import EngineCall
from stream_broker.engines.client import EngineClient
from stream_broker.engines.deltas import Finish, ToolCall
from stream_broker.engines.dialects import dialect_for
from tests.stream_broker.engines.listener import Listener
from tests.stream_broker.engines.wires import parse, text_of
from tests.support.ollama_wire import OllamaWire, whole_calls
from tests.support.real_engine import MODEL, RealEngine

MESSAGES = [{"role": "user", "content": "List three fruits, with a word on each."}]


@pytest.fixture(scope="module")
def wire(engine: RealEngine) -> Iterator[OllamaWire]:
    with OllamaWire(engine.url) as wire:
        yield wire


def target(wire: OllamaWire, model: str = MODEL) -> EngineTarget:
    return EngineTarget(kind="ollama", base_url=wire.url, model=model)


def call(max_tokens: int, prefix: str = "") -> EngineCall:
    return EngineCall(
        model=MODEL, messages=MESSAGES, max_tokens=max_tokens, temperature=0.0, prefix=prefix
    )


async def heard(client: EngineClient, where: EngineTarget, question: EngineCall) -> Listener:
    listener = Listener()
    await client.start(where, question, listener)
    await listener.end()
    return listener


@pytest.fixture
def theirs(wire: OllamaWire) -> Iterator[ollama.Client]:
    with ollama.Client(host=wire.url) as theirs:
        yield theirs


def test_the_real_client_lists_shows_and_watches(theirs: ollama.Client) -> None:
    assert [model.model for model in theirs.list().models] == [MODEL]
    assert theirs.show(MODEL).modelinfo
    assert [model.model for model in theirs.ps().models] == [MODEL]


def test_the_real_client_chats_and_generates(theirs: ollama.Client) -> None:
    options = {"num_predict": 6, "temperature": 0}
    *parts, last = theirs.chat(MODEL, MESSAGES, stream=True, options=options)
    assert (last.done, last.done_reason, last.eval_count) == (True, "length", 6)
    assert all(part.message.content for part in parts)
    whole = theirs.chat(MODEL, MESSAGES, options=options)
    assert whole.message.content
    assert whole.eval_count == 6
    assert theirs.generate(MODEL, "Say hi.", options=options).response


def test_the_real_client_is_refused(theirs: ollama.Client) -> None:
    with pytest.raises(ollama.ResponseError) as refusal:
        theirs.chat("nope", MESSAGES)
    assert refusal.value.status_code == 404


def test_the_real_client_warms_and_unloads(theirs: ollama.Client) -> None:
    assert theirs.generate(MODEL, keep_alive=0).done_reason == "unload"
    assert theirs.ps().models == []
    assert theirs.generate(MODEL).done_reason == "load"
    assert [model.model for model in theirs.ps().models] == [MODEL]


def test_the_real_client_embeds(theirs: ollama.Client) -> None:
    assert "embedding" in (theirs.show(MODEL).capabilities or [])
    told = theirs.embed(MODEL, ["a fox", "a river"])
    assert [len(vector) for vector in told.embeddings] == [576, 576]
    assert told.prompt_eval_count


def test_the_real_client_is_told_that_the_model_does_not_think(theirs: ollama.Client) -> None:
    with pytest.raises(ollama.ResponseError, match="does not support thinking"):
        theirs.chat(MODEL, MESSAGES, think=True)


def test_fragments_of_calls_become_whole_ones() -> None:
    parts = [
        {"index": 0, "id": "c1", "function": {"name": "now", "arguments": ""}},
        {"index": 1, "id": "c2", "function": {"name": "add", "arguments": '{"a":'}},
        {"index": 1, "function": {"arguments": "1}"}},
    ]
    message = {"role": "assistant", "content": "", "tool_calls": whole_calls(parts)}
    line = {"model": MODEL, "message": message, "done": False}
    theirs = ChatResponse.model_validate(line).message.tool_calls or []
    assert [(c.function.name, c.function.arguments) for c in theirs] == [
        ("now", {}),
        ("add", {"a": 1}),
    ]
    end = {"model": MODEL, "message": {"role": "assistant", "content": ""}, "done": True}
    ours = parse(dialect_for("ollama").parser(), [encode(line) + b"\n" + encode(end) + b"\n"])
    assert ours == [
        ToolCall("c1", "now", "{}"),
        ToolCall("c2", "add", '{"a":1}'),
        Finish("tool_calls", Usage()),
    ]


async def test_both_wires_have_the_same_vectors(wire: OllamaWire, engine: RealEngine) -> None:
    engines = EmbeddingEngines(5.0, 60.0, time.monotonic, lambda _: None)
    texts = ["a fox", "word " * 60]
    one = await engines.vectors(target(wire), texts, None)
    two = await engines.vectors(engine.target(), texts, None)
    await engines.aclose()
    assert [vector.dimensions for vector in one] == [576, 576]
    for a, b in zip(one, two, strict=True):
        pairs = zip(memoryview(a.floats).cast("f"), memoryview(b.floats).cast("f"), strict=True)
        assert sum(x * y for x, y in pairs) == pytest.approx(1, abs=0.01)
    assert sum(vector.tokens for vector in one) == sum(vector.tokens for vector in two) > 60


@pytest.mark.parametrize("kind", ["vllm", "ollama"])
async def test_a_text_beyond_the_context_is_refused(
    wire: OllamaWire, engine: RealEngine, kind: str
) -> None:
    engines = EmbeddingEngines(5.0, 60.0, time.monotonic, lambda _: None)
    where = target(wire) if kind == "ollama" else engine.target()
    with pytest.raises(EngineRefused) as refused:
        await engines.vectors(where, ["word " * 5000], None)
    await engines.aclose()
    assert refused.value.code == "context_too_long"


async def test_our_client_streams_and_counts(client: EngineClient, wire: OllamaWire) -> None:
    for _ in range(3):
        listener = await heard(client, target(wire), call(8))
        assert listener.text
        usage = listener.finish.usage
        assert listener.finish.reason == "length"
        assert usage is not None
        assert usage.completion_tokens == 8
        assert usage.prompt_tokens > 10


async def test_our_client_continues_a_text(client: EngineClient, wire: OllamaWire) -> None:
    first = await heard(client, target(wire), call(8))
    rest = await heard(client, target(wire), call(4, prefix=first.text))
    usage = rest.finish.usage
    assert usage is not None
    assert usage.completion_tokens == 4
    assert not rest.text.startswith(first.text[:8])


async def test_our_client_is_refused(client: EngineClient, wire: OllamaWire) -> None:
    assert (await heard(client, target(wire, "nope"), call(4))).code == "engine_error"
    long = EngineCall(
        model=MODEL, messages=[{"role": "user", "content": "word " * 20_000}], max_tokens=4
    )
    assert (await heard(client, target(wire), long)).code == "context_too_long"


async def test_close_frees_the_slot_behind(
    client: EngineClient, wire: OllamaWire, engine: RealEngine
) -> None:
    listener = Listener()
    stream = await client.start(target(wire), call(1500), listener)
    await listener.texts(3)
    stream.close()
    async with asyncio.timeout(1.0):
        while await engine.slots():
            pass


async def test_our_view_of_each_line_is_the_real_clients(wire: OllamaWire) -> None:
    dialect = dialect_for("ollama")
    request = dialect.request(call(12))
    async with httpx.AsyncClient(base_url=wire.url, timeout=60) as http:
        answer = await http.request(request.method, request.path, content=request.body)
    lines = [ChatResponse.model_validate_json(line) for line in answer.content.splitlines()]
    deltas = parse(dialect.parser(), [answer.content])
    assert text_of(deltas) == "".join(line.message.content or "" for line in lines)
    assert [line.done for line in lines] == [False] * (len(lines) - 1) + [True]
