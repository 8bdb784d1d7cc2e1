from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from stream_broker import calls as module
from stream_broker.calls import CallFailed, HttpCalls
from tests.support.cluster import free_port
from tests.support.scripted_engine import Peer, ScriptedEngine, answer


@asynccontextmanager
async def calling(engine: ScriptedEngine, timeout: float = 5.0) -> AsyncIterator[HttpCalls]:
    headers = {"Authorization": "Bearer s"}
    calls = HttpCalls(engine.target().base_url, headers, timeout, time.monotonic)
    yield calls
    await calls.aclose()


def serves(*answers: bytes) -> Callable[[Peer], object]:
    """Answers so many requests on one connection, then waits for its end."""

    async def script(peer: Peer) -> None:
        for data in answers:
            await peer.request()
            await peer.send(data)
        await peer.gone()

    return script


async def test_a_call_is_asked_and_answered_whole() -> None:
    asked: list[bytes] = []

    async def script(peer: Peer) -> None:
        asked.append(await peer.request())
        await peer.send(answer("200 OK", b'{"a":1}', "ETag: x", "Retry-After: 3"))
        await peer.gone()

    async with ScriptedEngine(script) as engine, calling(engine) as calls:
        reply = await calls.send("POST", "/p", b"body", {"If-None-Match": "y"})
        assert (reply.status, reply.body) == (200, b'{"a":1}')
        assert (reply.headers["etag"], reply.headers["retry-after"]) == ("x", "3")
    head, _, body = asked[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /p HTTP/1.1\r\n")
    assert b"Authorization: Bearer s" in head
    assert b"If-None-Match: y" in head
    assert body == b"body"


@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified", "503 Not Now"])
async def test_every_status_is_an_answer(status: str) -> None:
    async with (
        ScriptedEngine(serves(answer(status, b""))) as engine,
        calling(engine) as calls,
    ):
        assert (await calls.send("GET", "/")).status == int(status[:3])


async def test_connections_are_kept() -> None:
    ok = answer("200 OK", b"")
    async with ScriptedEngine(serves(ok, ok)) as engine, calling(engine) as calls:
        await calls.send("GET", "/")
        await calls.send("GET", "/")
        assert engine.connections == 1


async def test_a_kept_connection_that_was_closed_is_replaced_once() -> None:
    ok = answer("200 OK", b"")

    async def first(peer: Peer) -> None:
        await peer.request()
        await peer.send(ok)
        await peer.request()

    async with ScriptedEngine(first, serves(ok)) as engine, calling(engine) as calls:
        await calls.send("GET", "/")
        assert (await calls.send("GET", "/")).status == 200
        assert engine.connections == 2


async def test_an_answer_that_was_cut_is_no_answer() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(answer("200 OK", b"whole")[:-2])

    async with ScriptedEngine(script) as engine, calling(engine) as calls:
        with pytest.raises(CallFailed):
            await calls.send("GET", "/")


async def test_who_hangs_up_at_once_has_not_answered() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()

    async with ScriptedEngine(script) as engine, calling(engine) as calls:
        with pytest.raises(CallFailed):
            await calls.send("GET", "/")


async def test_who_does_not_answer_in_time_is_hung_up_on() -> None:
    left = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.gone()
        left.set()

    async with ScriptedEngine(script) as engine, calling(engine, timeout=0.05) as calls:
        with pytest.raises(CallFailed):
            await calls.send("GET", "/")
        async with asyncio.timeout(5):
            await left.wait()


async def test_nobody_there_is_a_failed_call() -> None:
    calls = HttpCalls(f"http://127.0.0.1:{free_port()}", {}, 5.0, time.monotonic)
    with pytest.raises(CallFailed):
        await calls.send("GET", "/")
    await calls.aclose()


async def test_an_endless_answer_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REPLY_MAX", 1000)
    async with (
        ScriptedEngine(serves(answer("200 OK", b"x" * 2000))) as engine,
        calling(engine) as calls,
    ):
        with pytest.raises(CallFailed, match="too long"):
            await calls.send("GET", "/")


async def test_more_calls_than_connections_take_their_turn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "CONNECTIONS_MAX", 2)
    ok = answer("200 OK", b"")
    async with ScriptedEngine(serves(*[ok] * 10)) as engine, calling(engine) as calls:
        replies = await asyncio.gather(*(calls.send("GET", "/") for _ in range(10)))
        assert [reply.status for reply in replies] == [200] * 10
        assert engine.connections <= 2
