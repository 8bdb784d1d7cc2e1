"""One connection to Redis: answers in order, in time, and never another call's."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

import hiredis
import pytest
import uvloop

from stream_broker.log.base import LogUnavailable
from stream_broker.log.link import Link, open_link
from stream_broker.log.resp import encode
from tests.support.cluster import free_port
from tests.support.redis_server import RedisServer

PING = encode(b"PING")

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def served(serve: Serve) -> AsyncIterator[Link]:
    """A link to a server that does as it is told."""
    done = asyncio.Event()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await serve(reader, writer)
        await done.wait()
        writer.close()

    async with await asyncio.start_server(handle, "127.0.0.1", 0) as server:
        link = await open_link(server.sockets[0].getsockname(), 1.0)
        yield link
        link.close()
        done.set()


@pytest.fixture
async def link(redis_server: RedisServer) -> AsyncIterator[Link]:
    link = await open_link(redis_server.address, 1.0)
    yield link
    link.close()


async def test_replies_come_in_order(link: Link) -> None:
    echoes = b"".join(encode(b"ECHO", b"%d" % number) for number in range(500))
    assert await link.call(echoes, 500, 5.0) == [b"%d" % number for number in range(500)]
    assert await link.call(PING, 1, 5.0) == [b"PONG"]


async def test_an_error_is_a_reply_among_others(link: Link) -> None:
    first, second = await link.call(encode(b"NONSENSE") + PING, 2, 5.0)
    assert isinstance(first, hiredis.ReplyError)
    assert second == b"PONG"


def test_it_runs_on_the_brokers_own_event_loop(redis_server: RedisServer) -> None:
    async def call() -> list[object]:
        link = await open_link(redis_server.address, 1.0)
        try:
            return await link.call(PING, 1, 5.0)
        finally:
            link.close()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(call()) == [b"PONG"]


@pytest.mark.parametrize("size", [1, 2, 7])
async def test_replies_in_any_pieces(size: int) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"PING\r\n")
        answer = b"+PONG\r\n:42\r\n$3\r\nabc\r\n"
        for start in range(0, len(answer), size):
            writer.write(answer[start : start + size])
            await writer.drain()
            await asyncio.sleep(0)

    async with served(serve) as link:
        assert await link.call(PING * 3, 3, 5.0) == [b"PONG", 42, b"abc"]


async def nothing(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    await reader.read(1)


async def test_no_answer_in_time_ends_the_connection() -> None:
    async with served(nothing) as link:
        with pytest.raises(LogUnavailable, match="no answer within"):
            await link.call(PING, 1, 0.01)
        assert link.closed
        with pytest.raises(LogUnavailable):
            await link.call(PING, 1, 1.0)


async def test_a_call_cut_off_ends_the_connection() -> None:
    async with served(nothing) as link:
        task = asyncio.create_task(link.call(PING, 1, 5.0))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert link.closed


async def test_a_connection_closed_under_a_call_ends_the_call() -> None:
    async with served(nothing) as link:
        task = asyncio.create_task(link.call(PING, 1, 5.0))
        await asyncio.sleep(0)
        link.close()
        with pytest.raises(LogUnavailable, match="was closed"):
            await task


async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(1)
    writer.close()


async def babble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(1)
    writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")


async def too_much(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(1)
    writer.write(b"+PONG\r\n+PONG\r\n+PONG\r\n")


@pytest.mark.parametrize("serve", [hang_up, babble, too_much])
async def test_whoever_does_not_keep_to_the_protocol_is_unavailable(serve: Serve) -> None:
    async with served(serve) as link:
        with pytest.raises(LogUnavailable):
            await link.call(PING * 2, 2, 5.0)
        assert link.closed


async def test_nobody_there_is_unavailable() -> None:
    with pytest.raises(LogUnavailable, match="Connect call failed"):
        await open_link(("127.0.0.1", free_port()), 1.0)


async def test_a_set_up_that_is_refused_is_unavailable(redis_server: RedisServer) -> None:
    with pytest.raises(LogUnavailable, match="unknown command"):
        await open_link(redis_server.address, 1.0, setup=(PING, encode(b"NONSENSE")))
    with pytest.raises(LogUnavailable, match="AUTH"):
        await open_link(redis_server.address, 1.0, password="x")
