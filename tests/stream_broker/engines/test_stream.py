"""The handle of a generation: close, pause, resume, and silence."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from stream_broker.engines.client import EngineClient, EngineStream
from stream_broker.engines.deltas import Delta, Finish, Text
from tests.stream_broker.engines.listener import Listener
from tests.stream_broker.engines.scripts import (
    CALL,
    heard,
    says,
    silent,
    stream_once,
)
from tests.stream_broker.engines.wires import DONE, content, finish
from tests.support.scripted_engine import END, SSE_HEAD, Peer, ScriptedEngine, chunk


@pytest.mark.parametrize("before", [b"", b"HTTP/1.1 200", SSE_HEAD, SSE_HEAD + chunk(content("H"))])
async def test_silence_is_a_stall_wherever_it_begins(before: bytes) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(before)
        await peer.gone()

    client = EngineClient(connect_timeout=5.0, idle_timeout=0.05, line_max=1 << 20)
    async with ScriptedEngine(script) as engine:
        assert (await heard(client, engine.target())).code == "engine_stalled"
    await client.aclose()


@pytest.mark.parametrize(
    ("before", "code"),
    [
        (b"", "engine_unreachable"),
        (SSE_HEAD, "engine_truncated"),
        (SSE_HEAD + chunk(content("H")), "engine_truncated"),
    ],
)
async def test_an_engine_that_closed_its_port_and_says_nothing_is_dead(
    client: EngineClient, before: bytes, code: str
) -> None:
    """As vLLM's server does when it is told to end: it waits for its clients to go."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(before)
        engine.close_port()
        await peer.gone()

    engine = ScriptedEngine(script)
    async with engine:
        assert (await heard(client, engine.target())).code == code


async def test_an_engine_that_thinks_is_asked_whether_it_is_there_and_not_given_up(
    client: EngineClient,
) -> None:
    asked = asyncio.Event()

    async def thinks(peer: Peer) -> None:
        await peer.request()
        await peer.send(SSE_HEAD, chunk(content("Hm")))
        await asked.wait()
        await peer.send(chunk(content("!") + finish("stop") + DONE) + END)

    async def question(peer: Peer) -> None:
        asked.set()
        await peer.gone()

    async with ScriptedEngine(thinks, question) as engine:
        listener = await heard(client, engine.target())
        assert listener.text == "Hm!"
        assert listener.finish.reason == "stop"


async def test_one_that_ends_what_it_has_taken_up_is_heard_to_its_end(
    client: EngineClient,
) -> None:
    """A port that is closed for good is no reason while tokens come."""
    told = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(SSE_HEAD, chunk(content("H")))
        await told.wait()
        await peer.send(chunk(content("i") + finish("stop") + DONE) + END)

    async with ScriptedEngine(script) as engine:
        listener = Listener()
        stream = await client.start(engine.target(), CALL, listener)
        await listener.texts(1)
        engine.close_port()
        # The answer to a doubt that came before the token.
        stream.gone()
        told.set()
        await listener.end()
    assert listener.text == "Hi"
    assert listener.finish.reason == "stop"


async def test_a_timer_that_fires_early_waits_for_the_rest() -> None:
    now = 0.0
    client = EngineClient(5.0, idle_timeout=0.02, line_max=1 << 20, clock=lambda: now)
    go = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(SSE_HEAD)
        await go.wait()
        await peer.send(chunk(content("Hi") + finish("stop") + DONE) + END)

    async with ScriptedEngine(script) as engine:
        listener = Listener()
        await client.start(engine.target(), CALL, listener)
        loop = asyncio.get_running_loop()
        # Five timeouts pass on the loop, none on the client's clock.
        loop.call_later(0.1, go.set)
        await listener.end()
        assert listener.finish.reason == "stop"
    await client.aclose()


async def test_close_in_mid_answer_is_seen_by_the_engine_and_ends_the_sink(
    client: EngineClient,
) -> None:
    gone = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(SSE_HEAD, chunk(content("Hi")))
        await peer.gone()
        gone.set()

    async with ScriptedEngine(script) as engine:
        listener = Listener()
        stream = await client.start(engine.target(), CALL, listener)
        await listener.texts(1)
        stream.close()
        stream.close()
        async with asyncio.timeout(1):
            await gone.wait()
    assert listener.heard == [Text("Hi")]


async def test_the_sink_may_close_the_stream_it_hears(client: EngineClient) -> None:
    class Closer(Listener):
        stream: EngineStream

        def deltas(self, deltas: list[Delta]) -> None:
            super().deltas(deltas)
            self.stream.close()

    pieces = [chunk(content(str(number))) for number in range(100)]
    async with ScriptedEngine(says(SSE_HEAD, *pieces), stream_once) as engine:
        closer = Closer()
        closer.stream = await client.start(engine.target(), CALL, closer)
        await closer.texts(1)
        await heard(client, engine.target())
    assert closer.calls == 1


async def test_paused_nothing_is_heard_and_silence_does_not_count() -> None:
    client = EngineClient(connect_timeout=5.0, idle_timeout=0.05, line_max=1 << 20)
    sent = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(SSE_HEAD, chunk(content("a")))
        await sent.wait()
        await peer.send(chunk(content("b") + finish("stop") + DONE), END)
        await peer.gone()

    async with ScriptedEngine(script) as engine, ScriptedEngine(silent) as mute:
        listener = Listener()
        stream = await client.start(engine.target(), CALL, listener)
        await listener.texts(1)
        stream.pause()
        sent.set()
        # Another generation runs into the idle timeout meanwhile.
        assert (await heard(client, mute.target())).code == "engine_stalled"
        assert listener.heard == [Text("a")]
        stream.resume()
        await listener.end()
    assert listener.heard == [Text("a"), Text("b"), Finish("stop")]
    await client.aclose()


async def test_paused_before_the_connection_is_open_is_paused(client: EngineClient) -> None:
    async with ScriptedEngine(stream_once) as engine:
        listener = Listener()
        stream = await client.start(engine.target(), CALL, listener)
        stream.pause()
        other = await heard(client, engine.target())
        assert other.finish.reason == "stop"
        assert listener.heard == []
        stream.resume()
        await listener.end()


async def test_a_paused_stream_holds_the_engine_by_its_window(client: EngineClient) -> None:
    """The engine cannot send more than the kernel's buffers hold: memory here is bounded."""
    sent = 0
    stuck = asyncio.Event()

    async def script(peer: Peer) -> None:
        nonlocal sent
        await peer.request()
        await peer.send(SSE_HEAD)
        with contextlib.suppress(TimeoutError):
            while sent < 64 << 20:
                async with asyncio.timeout(0.5):
                    await peer.send(chunk(content("x" * 60_000)))
                sent += 60_000
        stuck.set()

    async with ScriptedEngine(script) as engine:
        listener = Listener()
        stream = await client.start(engine.target(), CALL, listener)
        await listener.texts(1)
        stream.pause()
        await stuck.wait()
        stream.close()
    assert sent < 16 << 20
