"""Connections: used again, replaced, given up, and fair to one another."""

from __future__ import annotations

import asyncio

import pytest

from stream_broker.engines.client import EngineClient
from stream_broker.engines.deltas import Delta, Finish, Text
from tests.stream_broker.engines.listener import Listener
from tests.stream_broker.engines.scripts import (
    CALL,
    WHOLE,
    heard,
    keep_alive,
    says,
    stream_once,
)
from tests.stream_broker.engines.wires import content
from tests.support.scripted_engine import END, SSE_HEAD, Peer, ScriptedEngine, chunk


class Deaf:
    """A sink that keeps nothing."""

    def deltas(self, deltas: list[Delta]) -> None:
        pass


async def test_a_connection_is_used_again(client: EngineClient) -> None:
    async with ScriptedEngine(keep_alive) as engine:
        for _ in range(3):
            assert (await heard(client, engine.target())).finish.reason == "stop"
        assert engine.connections == 1
        await asyncio.gather(*(heard(client, engine.target()) for _ in range(3)))
        assert engine.connections == 3


async def test_a_stale_connection_is_replaced_once(client: EngineClient) -> None:
    """llama.cpp promises to keep the connection and closes it: here at the next request."""

    async def stale(peer: Peer) -> None:
        await stream_once(peer)
        await peer.request()

    async with ScriptedEngine(stale, stream_once) as engine:
        await heard(client, engine.target())
        listener = await heard(client, engine.target())
        assert listener.heard == [Text("Hi"), Finish("stop")]
        assert engine.connections == 2


async def test_a_reused_connection_that_began_to_answer_is_not_replaced(
    client: EngineClient,
) -> None:
    async def script(peer: Peer) -> None:
        await stream_once(peer)
        await peer.request()
        await peer.send(b"HTTP/1.1 2")

    async with ScriptedEngine(script) as engine:
        await heard(client, engine.target())
        assert (await heard(client, engine.target())).code == "engine_error"
        assert engine.connections == 1


async def test_a_fresh_connection_is_not_replaced(client: EngineClient) -> None:
    async with ScriptedEngine(says(b"")) as engine:
        assert (await heard(client, engine.target())).code == "engine_unreachable"
        assert engine.connections == 1


@pytest.mark.parametrize(
    "after",
    [
        chunk(content("more")),
        END + b"HTTP/1.1 200 OK\r\n\r\nsurplus",
        END + b"junk",
        b"junk",
    ],
)
async def test_data_after_the_end_is_dropped_and_the_connection_with_it(
    client: EngineClient, after: bytes
) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(WHOLE.removesuffix(END), after)
        await peer.gone()

    async with ScriptedEngine(script, stream_once) as engine:
        listener = await heard(client, engine.target())
        assert listener.heard == [Text("Hi"), Finish("stop")]
        await heard(client, engine.target())
        assert engine.connections == 2


async def test_an_answer_that_asks_to_close_is_closed(client: EngineClient) -> None:
    said = WHOLE.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1)

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(said)
        await peer.gone()

    async with ScriptedEngine(script) as engine:
        await heard(client, engine.target())
        await heard(client, engine.target())
        assert engine.connections == 2


async def test_close_after_the_end_leaves_the_connection_to_others(client: EngineClient) -> None:
    async with ScriptedEngine(keep_alive) as engine:
        for _ in range(2):
            listener = Listener()
            stream = await client.start(engine.target(), CALL, listener)
            await listener.end()
            stream.close()
        assert engine.connections == 1


async def test_one_unthrottled_engine_does_not_starve_another(client: EngineClient) -> None:
    flood = chunk(content("x") * 1000)

    async def flooding(peer: Peer) -> None:
        await peer.request()
        await peer.send(SSE_HEAD)
        while True:
            await peer.send(flood)

    async with ScriptedEngine(flooding) as busy, ScriptedEngine(keep_alive) as calm:
        stream = await client.start(busy.target(), CALL, Deaf())
        for _ in range(20):
            await heard(client, calm.target())
        stream.close()
