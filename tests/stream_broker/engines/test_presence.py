"""Whether an engine is there at all, asked for many streams at once."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest

from stream_broker.engines.origin import Origin, origin_of
from stream_broker.engines.presence import GATHER_S, Presence, refuses
from tests.stream_broker.engines.scripts import silent
from tests.support.scripted_engine import ScriptedEngine

TIMEOUT_S = 5.0


def where(engine: ScriptedEngine) -> Origin:
    return origin_of(engine.target().base_url)


async def test_who_takes_connections_is_there_and_who_refuses_them_is_not() -> None:
    async with ScriptedEngine(silent) as engine:
        assert not await refuses(where(engine))
        engine.close_port()
        assert await refuses(where(engine))


async def test_a_name_that_leads_nowhere_says_nothing_of_the_engine() -> None:
    assert not await refuses(origin_of("http://no-such-engine.invalid:1"))


async def test_one_question_is_asked_for_all_that_doubt() -> None:
    presence = Presence(TIMEOUT_S)
    asked = asyncio.Event()

    async def question(peer: object) -> None:
        asked.set()

    async with ScriptedEngine(question) as engine:
        for _ in range(100):
            presence.doubt(where(engine), lambda: pytest.fail("it is there"))
        async with asyncio.timeout(TIMEOUT_S):
            await asked.wait()
        await presence.aclose()
        assert engine.connections == 1


async def test_those_that_doubt_one_after_the_other_are_asked_for_together() -> None:
    """As silent streams do, whose seconds have begun at different times."""
    presence = Presence(TIMEOUT_S)
    loop = asyncio.get_running_loop()
    asked = asyncio.Event()

    async def question(peer: object) -> None:
        asked.set()

    async with ScriptedEngine(question) as engine:
        begin = loop.time()
        while not asked.is_set():
            presence.doubt(where(engine), lambda: pytest.fail("it is there"))
            turn = loop.create_future()
            loop.call_later(0.001, turn.set_result, None)
            await turn
        assert loop.time() - begin >= GATHER_S
        assert engine.connections == 1
        await presence.aclose()


async def test_all_that_doubt_hear_that_it_is_gone() -> None:
    presence = Presence(TIMEOUT_S)
    gone: list[int] = []
    told = asyncio.Event()
    async with ScriptedEngine(silent) as engine:
        engine.close_port()
        for number in range(100):
            presence.doubt(where(engine), partial(gone.append, number))
        presence.doubt(where(engine), told.set)
        async with asyncio.timeout(TIMEOUT_S):
            await told.wait()
    assert gone == list(range(100))
    await presence.aclose()


async def test_what_is_closed_calls_nobody() -> None:
    presence = Presence(TIMEOUT_S)
    gone: list[int] = []
    async with ScriptedEngine(silent) as engine:
        engine.close_port()
        presence.doubt(where(engine), lambda: gone.append(1))
        await presence.aclose()
    assert gone == []
