"""The synthetic engine says what vLLM says: our own parser of vLLM's streams reads it."""

from __future__ import annotations

import asyncio
import json

import httpx

from bench.ask import Ask
from bench.control import engine_call
from bench.spec import Target
from bench.tokens import TokenCheck
from contracts.grants import Usage
from stream_broker.engines.deltas import Finish, Text
from stream_broker.engines.openai import OpenAIParser

Address = tuple[str, int]


async def answer(engine: Address, ask: Ask, **changed: object) -> bytes:
    """The body of a whole answer; `changed` are fields of the request."""
    body = Target(*engine).request(ask).partition(b"\r\n\r\n")[2]
    body = json.dumps(json.loads(body) | changed).encode()
    async with httpx.AsyncClient(trust_env=False) as client:
        url = "http://{}:{}/v1/chat/completions".format(*engine)
        response = await client.post(url, content=body)
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/event-stream")
    return response.content


async def count(engine: Address, what: str) -> int:
    """One of the engine's counts, now."""
    return (await asyncio.to_thread(engine_call, engine, "stats"))[what]


async def test_its_stream_is_read_by_the_brokers_parser(engine: Address) -> None:
    body = await answer(engine, Ask(stream=4, rate=2000, tokens=10, start=0.002))
    *texts, finish = OpenAIParser(1 << 20).feed(body)
    assert finish == Finish("stop", Usage(prompt_tokens=8, completion_tokens=10))
    assert len(texts) == 10
    assert all(isinstance(text, Text) for text in texts)


async def test_its_tokens_are_whole_and_in_order(engine: Address) -> None:
    for ask in (Ask(2, rate=2000, burst=4, tokens=10), Ask(2, tokens=1000)):
        check = TokenCheck(2)
        sent = check.feed(await answer(engine, ask))
        assert len(sent) == ask.tokens
        assert sent == sorted(sent)
        assert check.done
        assert check.lost == check.repeated == check.swapped == check.foreign == 0


async def test_it_says_no_more_than_max_tokens(engine: Address) -> None:
    for ask in (Ask(), Ask(tokens=20), Ask(rate=2000)):
        body = await answer(engine, ask, max_tokens=7)
        check = TokenCheck(0)
        assert len(check.feed(body)) == 7
        assert check.done
    unbound = await answer(engine, Ask(tokens=9), max_tokens=None)
    assert len(TokenCheck(0).feed(unbound)) == 9


async def test_an_event_is_as_long_as_one_of_vllm(engine: Address) -> None:
    body = await answer(engine, Ask(tokens=3))
    event = next(event for event in body.split(b"\n\n") if b"@" in event)
    assert 225 <= len(event) + 2 <= 245


async def test_told_to_finish_every_stream_ends_whole(engine: Address) -> None:
    asks = (Ask(1, rate=100), Ask(2, rate=100, hold=1), Ask(3), Ask(4, rate=1, start=60))
    running = [asyncio.create_task(answer(engine, ask)) for ask in asks]
    while await count(engine, "running") < len(asks):
        pass
    await asyncio.to_thread(engine_call, engine, "finish")
    for ask, body in zip(asks, await asyncio.gather(*running), strict=True):
        check = TokenCheck(ask.stream)
        check.feed(body)
        assert check.done
        assert check.lost == 0
    assert await count(engine, "running") == 0


async def test_a_reader_that_stops_stops_an_unthrottled_stream(engine: Address) -> None:
    reader, writer = await asyncio.open_connection(*engine)
    writer.write(Target(*engine).request(Ask(1)))
    await reader.readexactly(1000)
    before = -1
    # The buffers of two sockets fill, and then nothing more is made.
    while (now := await count(engine, "tokens")) != before:
        before = now
    writer.transport.abort()
    await asyncio.sleep(0)


async def test_it_is_healthy_and_names_its_model(engine: Address) -> None:
    async with httpx.AsyncClient(trust_env=False) as client:
        base = "http://{}:{}".format(*engine)
        assert (await client.get(f"{base}/health")).status_code == 200
        models = (await client.get(f"{base}/v1/models")).json()
    assert [model["id"] for model in models["data"]] == ["synthetic"]
