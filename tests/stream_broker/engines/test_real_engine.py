"""The client against llama.cpp's own server with a real model.

Text is never compared: greedy decoding differs between machines. What is asserted is
structure, counts, and that the engine's slots are free again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from stream_broker.engines.call import EngineCall
from stream_broker.engines.client import EngineClient
from stream_broker.engines.deltas import Text
from tests.stream_broker.engines.listener import Listener
from tests.support.real_engine import MODEL, SLOTS, RealEngine

QUESTION = "Write a long story about a village at the sea."


def call(max_tokens: int, question: str = QUESTION, **more: Any) -> EngineCall:
    messages = [{"role": "user", "content": question}]
    return EngineCall(
        model=MODEL, messages=messages, max_tokens=max_tokens, temperature=0.0, **more
    )


async def heard(client: EngineClient, engine: RealEngine, question: EngineCall) -> Listener:
    listener = Listener()
    await client.start(engine.target(), question, listener)
    await listener.end()
    return listener


async def within_a_second(true: Callable[[], Awaitable[bool]]) -> None:
    """Fails unless it becomes true within the second that the contract promises."""
    async with asyncio.timeout(1.0):
        while not await true():
            pass


async def idle(engine: RealEngine) -> bool:
    return await engine.busy() == 0


async def test_a_stream_has_text_a_finish_and_counts(
    client: EngineClient, engine: RealEngine
) -> None:
    listener = await heard(client, engine, call(12))
    assert listener.finish.reason == "length"
    usage = listener.finish.usage
    assert usage is not None
    assert usage.completion_tokens == 12
    assert usage.prompt_tokens > 10
    assert 10 <= len(listener.heard) <= 13


async def test_the_prefix_cache_is_counted(client: EngineClient, engine: RealEngine) -> None:
    await heard(client, engine, call(2))
    usage = (await heard(client, engine, call(2))).finish.usage
    assert usage is not None
    assert usage.cached_tokens > 10


async def test_generation_after_generation(client: EngineClient, engine: RealEngine) -> None:
    """llama.cpp closes the connection that it promised to keep: nobody notices."""
    for _ in range(5):
        assert (await heard(client, engine, call(3))).finish.usage is not None


async def test_eight_at_once(client: EngineClient, engine: RealEngine) -> None:
    questions = [call(10, f"Tell me about the number {number}.") for number in range(SLOTS)]
    listeners = await asyncio.gather(*(heard(client, engine, question) for question in questions))
    for listener in listeners:
        usage = listener.finish.usage
        assert usage is not None
        assert 0 < usage.completion_tokens <= 10


async def test_a_prompt_beyond_the_context_says_so(
    client: EngineClient, engine: RealEngine
) -> None:
    listener = await heard(client, engine, call(4, "word " * 20_000))
    assert listener.code == "context_too_long"
    assert await idle(engine)


async def test_close_frees_the_slot_within_a_second(
    client: EngineClient, engine: RealEngine
) -> None:
    listener = Listener()
    stream = await client.start(engine.target(), call(1500), listener)
    await listener.texts(5)
    assert await engine.busy() == 1
    stream.close()
    await within_a_second(lambda: idle(engine))
    assert not listener.ended


async def test_close_during_prefill_frees_the_slot_within_a_second(
    client: EngineClient, engine: RealEngine
) -> None:
    listener = Listener()
    prompt = " ".join(f"{number} houses" for number in range(300))
    stream = await client.start(engine.target(), call(10, prompt), listener)
    async with asyncio.timeout(30):
        while await idle(engine):
            pass
    assert listener.heard == []
    stream.close()
    await within_a_second(lambda: idle(engine))
    assert listener.heard == []


async def test_a_text_is_continued_from_its_prefix(
    client: EngineClient, engine: RealEngine
) -> None:
    question = "Count from one to twenty in words, with commas."
    first = await heard(client, engine, call(12, question))
    rest = await heard(client, engine, call(8, question, prefix=first.text))
    begun, went_on = first.finish.usage, rest.finish.usage
    assert begun is not None
    assert went_on is not None
    # The text so far is prompt now; nothing of it comes again.
    assert abs(went_on.prompt_tokens - begun.prompt_tokens - begun.completion_tokens) <= 2
    assert went_on.completion_tokens == 8
    assert not rest.text.startswith(first.text[:8])
    assert isinstance(rest.heard[0], Text)


async def test_a_killed_engine_is_truncated(client: EngineClient, engine: RealEngine) -> None:
    with RealEngine() as victim:
        listener = Listener()
        await client.start(victim.target(), call(1500), listener)
        await listener.texts(5)
        victim.kill()
        await listener.end()
        assert listener.code == "engine_truncated"
        assert (await heard(client, victim, call(1))).code == "engine_unreachable"
