"""Answers whose request has no task any more, over real sockets and a real uvicorn."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from stream_broker.connection import EXTENSION, StreamConnection
from stream_broker.lean import Answer
from tests.stream_broker.served import Server, Taker, serving
from tests.support.eventually import eventually_async

ASK = b"GET /%d HTTP/1.1\r\nHost: x\r\n\r\n"


class Handing(Server):
    """Hands every answer over after its head."""

    def __init__(self, host: str = "127.0.0.1") -> None:
        super().__init__(host)
        self.asked: list[str] = []
        self.connections: asyncio.Queue[StreamConnection] = asyncio.Queue()

    async def _app(self, scope: Any, receive: Any, send: Any) -> None:
        self.asked.append(scope["path"])
        if scope["method"] == "POST":
            while (await receive())["more_body"]:
                pass
        await send({"type": "http.response.start", "status": 200})
        connection = scope["extensions"][EXTENSION]
        connection.hand_over(self.taker)
        self.connections.put_nowait(connection)

    async def connection(self) -> Any:
        async with asyncio.timeout(5):
            connection = await self.connections.get()
        # Its task has had its turn.
        await eventually_async(lambda: not self.server_state.tasks)
        return connection


class Client:
    """A connection, and what has been read of it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def say(self, data: bytes) -> None:
        self.writer.write(data)

    async def until(self, end: bytes) -> bytes:
        async with asyncio.timeout(5):
            return await self.reader.readuntil(end)

    async def rest(self) -> bytes:
        async with asyncio.timeout(5):
            return await self.reader.read()


@pytest.fixture
async def server() -> AsyncIterator[Handing]:
    async with serving(kind=Handing) as server:
        yield server


@asynccontextmanager
async def dialled(server: Server) -> AsyncIterator[Client]:
    reader, writer = await asyncio.open_connection(*server.address)
    yield Client(reader, writer)
    writer.transport.abort()


async def test_an_answer_goes_on_without_its_requests_task(server: Handing) -> None:
    async with dialled(server) as client:
        client.say(ASK % 1)
        connection = await server.connection()
        assert b"chunked" in await client.until(b"\r\n\r\n")
        connection.write_frame(b"one\n\n")
        assert await client.until(b"one\n\n\r\n") == b"5\r\none\n\n\r\n"
        connection.finish()
        assert await client.until(b"0\r\n\r\n") == b"0\r\n\r\n"
        assert connection.taker is None


async def test_nothing_of_the_request_is_kept(server: Handing) -> None:
    async with dialled(server) as client:
        client.say(ASK % 1)
        connection = await server.connection()
        gc.collect()
        assert (connection.scope, connection.headers, connection.parser) == (None, None, None)
        assert isinstance(connection.cycle, Answer)


async def test_the_next_request_on_the_connection_is_answered(server: Handing) -> None:
    async with dialled(server) as client:
        for number in (1, 2, 3):
            client.say(ASK % number)
            connection = await server.connection()
            connection.finish()
            assert (await client.until(b"\r\n0\r\n\r\n")).startswith(b"HTTP/1.1 200 OK")
        assert server.asked == ["/1", "/2", "/3"]


@pytest.mark.parametrize("at_once", [True, False])
async def test_a_request_that_comes_early_has_its_turn_afterwards(
    server: Handing, at_once: bool
) -> None:
    async with dialled(server) as client:
        client.say(ASK % 1 + ASK % 2 if at_once else ASK % 1)
        first = await server.connection()
        if not at_once:
            client.say(ASK % 2)
            await eventually_async(lambda: first.pipeline)
        assert server.asked == ["/1"]
        first.write_frame(b"one\n\n")
        first.finish()
        assert await client.until(b"one\n\n\r\n0\r\n\r\n")
        second = await server.connection()
        second.write_frame(b"two\n\n")
        second.finish()
        assert await client.until(b"two\n\n\r\n0\r\n\r\n")
        assert server.asked == ["/1", "/2"]


async def test_half_a_request_that_comes_early_is_not_lost(server: Handing) -> None:
    ask = ASK % 2
    async with dialled(server) as client:
        client.say(ASK % 1 + ask[:9])
        connection = await server.connection()
        client.say(ask[9:])
        await eventually_async(lambda: connection.pipeline)
        connection.finish()
        (await server.connection()).finish()
        assert server.asked == ["/1", "/2"]


async def test_who_wants_its_connection_closed_has_it_closed_at_the_end(server: Handing) -> None:
    async with dialled(server) as client:
        client.say(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        connection = await server.connection()
        connection.write_frame(b"one\n\n")
        connection.finish()
        assert (await client.rest()).endswith(b"\r\n\r\n5\r\none\n\n\r\n0\r\n\r\n")


async def test_a_client_that_leaves_is_told_of(server: Handing) -> None:
    async with dialled(server) as client:
        client.say(ASK % 1)
        connection = await server.connection()
        client.writer.close()
        await eventually_async(lambda: server.taker.left)
        assert not connection.open
        connection.finish()
        connection.cut()


async def test_in_the_middle_of_an_answer_no_connection_becomes_a_websocket(
    server: Handing,
) -> None:
    async with dialled(server) as client:
        client.say(ASK % 1)
        connection = await server.connection()
        client.say(
            b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        await eventually_async(lambda: server.taker.left)
        assert not connection.open


async def test_a_cut_answer_has_no_end(server: Handing) -> None:
    async with dialled(server) as client:
        client.say(ASK % 1)
        connection = await server.connection()
        connection.write_frame(b"one\n\n")
        connection.cut()
        assert (await client.rest()).endswith(b"one\n\n\r\n")


async def test_a_body_that_nobody_reads_is_dropped(server: Handing) -> None:
    many = 1 << 20
    async with dialled(server) as client:
        client.say(b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % many)
        connection = await server.connection()
        client.say(b"x" * many)
        async with asyncio.timeout(5):
            await client.writer.drain()
        connection.finish()
        client.say(ASK % 2)
        (await server.connection()).finish()
        assert server.asked == ["/", "/2"]


async def test_the_body_of_a_request_is_let_go_of(server: Handing) -> None:
    async with dialled(server) as client:
        client.say(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc")
        connection = await server.connection()
        assert connection.parser is None
        connection.finish()


async def test_a_shutdown_waits_for_the_answer_and_keeps_no_connection() -> None:
    async with serving(kind=Handing) as server, dialled(server) as client:
        client.say(ASK % 1)
        connection = await server.connection()
        server.should_exit = True
        await eventually_async(lambda: not connection.cycle.keep_alive)
        assert connection.open
        connection.write_frame(b"one\n\n")
        connection.finish()
        assert (await client.rest()).endswith(b"one\n\n\r\n0\r\n\r\n")


async def test_who_waits_for_room_goes_on_when_there_is_some_or_nobody(server: Handing) -> None:
    async with dialled(server) as client:
        client.say(ASK % 1)
        connection = await server.connection()
        await connection.room()
        for end in (connection.resume_writing, connection.abort):
            connection.pause_writing()
            waiting = [asyncio.create_task(connection.room()) for _ in range(3)]
            await asyncio.sleep(0)
            waiting[0].cancel()
            end()
            async with asyncio.timeout(5):
                await asyncio.gather(*waiting[1:])


async def test_a_taker_is_not_kept_after_the_end(server: Handing) -> None:
    async with dialled(server) as client:
        client.say(ASK % 1)
        connection = await server.connection()
        taker = Taker()
        connection.taker = taker
        gone = weakref.ref(taker)
        connection.finish()
        del taker
        gc.collect()
        assert gone() is None
