"""Ollama's wire: proven with its own client, then spoken by ours, a real model behind."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import httpx
import ollama
import pytest
from ollama._types import ChatResponse

from contracts.grants import EngineTarget
from stream_broker.engines.call import EngineCall
from stream_broker.engines.client import EngineClient
from stream_broker.engines.dialects import dialect_for
from tests.stream_broker.engines.listener import Listener
from tests.stream_broker.engines.wires import parse, text_of
from tests.support.ollama_wire import OllamaWire
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
        while await engine.busy():
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
