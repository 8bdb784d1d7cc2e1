"""The two kinds of connection, over real sockets and a real uvicorn."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import socket
import struct
import termios
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import websockets

from stream_broker import connection as module
from stream_broker.connection import (
    SEND_BUFFER,
    USER_TIMEOUT_MS,
    WRITE_BUFFER,
    SocketConnection,
    StreamConnection,
)
from tests.stream_broker.served import Server, serving
from tests.support.eventually import eventually_async

Connection = StreamConnection | SocketConnection
RECEIVE_BUFFER = 4096
FRAME = b"x" * 4000
# Bytes that the kernel has not sent yet (linux/sockios.h).
SIOCOUTQNSD = 0x894B
# What may wait for a client that takes nothing: here, in both kernels, and one frame.
MOST = WRITE_BUFFER + 2 * SEND_BUFFER + 4 * RECEIVE_BUFFER + len(FRAME)


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with serving() as server:
        yield server


@contextlib.contextmanager
def dialled(server: Server) -> Iterator[socket.socket]:
    """A client's socket with little room."""
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        sock.connect(server.address)
        sock.setblocking(False)
        yield sock


@contextlib.asynccontextmanager
async def streaming(server: Server) -> AsyncIterator[tuple[socket.socket, StreamConnection]]:
    """An HTTP client that reads when the test does."""
    with dialled(server) as sock:
        sock.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        yield sock, await server.connection()


@contextlib.asynccontextmanager
async def talking(
    server: Server,
) -> AsyncIterator[tuple[websockets.ClientConnection, SocketConnection]]:
    """A WebSocket client; `transport.pause_reading` freezes it."""
    with dialled(server) as sock:
        url = f"ws://127.0.0.1:{server.address[1]}/"
        async with websockets.connect(url, sock=sock, ping_interval=None) as client:
            yield client, await server.connection()
            client.transport.abort()


async def fill(connection: Connection) -> int:
    """Writes until the connection is full and its kernel takes no more. Returns how much."""
    written = 0
    while not connection.full:
        if isinstance(connection, StreamConnection):
            connection.write_frame(FRAME)
        else:
            connection.write_messages([FRAME])
        written += len(FRAME)
        await asyncio.sleep(0)
    return written


async def frozen(connection: Connection) -> int:
    """Fills it for good: until also the client's kernel has taken what it can."""
    written = 0
    while not connection.full or not stuck(connection):
        written += await fill(connection)
        await eventually_async(lambda: not connection.full or stuck(connection))
    return written


def stuck(connection: Connection) -> bool:
    """Is all acknowledged that was sent, and more to be sent? The client's window is closed."""
    sock = connection.transport.get_extra_info("socket")
    held, unsent = (
        struct.unpack("i", fcntl.ioctl(sock.fileno(), request, b"\0" * 4))[0]
        for request in (termios.TIOCOUTQ, SIOCOUTQNSD)
    )
    return bool(held == unsent > 0)


async def read(sock: socket.socket, count: int) -> int:
    """Reads so many bytes; fewer at the end."""
    taken = 0
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(5):
        while taken < count and (data := await loop.sock_recv(sock, count - taken)):
            taken += len(data)
    return taken


@pytest.mark.parametrize("kind", [streaming, talking])
async def test_what_may_wait_is_bounded_here_and_in_the_kernel(server: Server, kind: Any) -> None:
    async with kind(server) as (_, connection):
        sock = connection.transport.get_extra_info("socket")
        # Linux keeps as much again for its own book-keeping, and says so.
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) == 2 * SEND_BUFFER
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
        assert connection.transport.get_write_buffer_limits()[1] == WRITE_BUFFER


@pytest.mark.parametrize("kind", [streaming, talking])
async def test_the_kernel_lets_go_of_a_client_whose_packets_vanish(
    server: Server, kind: Any
) -> None:
    async with kind(server) as (_, connection):
        sock = connection.transport.get_extra_info("socket")
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == USER_TIMEOUT_MS


async def test_a_client_that_takes_nothing_fills_its_connection(server: Server) -> None:
    async with streaming(server) as (_, connection):
        assert not connection.full
        written = await frozen(connection)
        assert WRITE_BUFFER < written <= MOST
        assert WRITE_BUFFER < connection.unsent() <= written
        assert connection.transport.get_write_buffer_size() <= WRITE_BUFFER + len(FRAME) + 16
        assert server.taker.writables == 0


async def test_a_client_that_takes_again_is_told_of(server: Server) -> None:
    async with streaming(server) as (sock, connection):
        written = await frozen(connection)
        before = connection.unsent()
        await read(sock, written)
        await eventually_async(lambda: server.taker.writables == 1)
        assert not connection.full
        await eventually_async(lambda: connection.unsent() < before)


async def test_a_client_that_leaves_is_told_of(server: Server) -> None:
    async with streaming(server) as (sock, connection):
        await fill(connection)
        assert connection.open
        sock.close()
        await eventually_async(lambda: server.taker.left)
        assert not connection.open
        assert connection.unsent() == 0


async def test_an_abort_drops_what_waits(server: Server) -> None:
    async with streaming(server) as (sock, connection):
        written = await frozen(connection)
        connection.abort()
        await eventually_async(lambda: server.taker.left)
        with contextlib.suppress(ConnectionResetError):
            assert await read(sock, written) < written


async def test_frames_are_chunks_of_the_body(server: Server) -> None:
    async with streaming(server) as (sock, connection):
        connection.write_frame(b"one\n\n")
        connection.write_frame(b"two\n\n")
        seen = b""
        async with asyncio.timeout(5):
            while not seen.endswith(b"two\n\n\r\n"):
                seen += await asyncio.get_running_loop().sock_recv(sock, 1000)
        assert seen.partition(b"\r\n\r\n")[2] == b"5\r\none\n\n\r\n5\r\ntwo\n\n\r\n"


async def test_messages_are_text_and_none_follow_a_close(server: Server) -> None:
    async with talking(server) as (client, connection):
        connection.write_messages([b'"a"', '"ö"'.encode()])
        assert [await client.recv(), await client.recv()] == ['"a"', '"ö"']
        connection.give_up(4008)
        connection.write_messages([b'"b"'])
        with pytest.raises(websockets.ConnectionClosed) as closed:
            await client.recv()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 4008


async def rest(client: Any) -> int:
    """Bytes of all messages until the connection ends."""
    taken = 0
    async with asyncio.timeout(5):
        while True:
            try:
                taken += len(await client.recv())
            except websockets.ConnectionClosed:
                return taken


async def test_a_client_that_wakes_up_is_told_why_after_all_that_was_written(
    server: Server,
) -> None:
    async with talking(server) as (client, connection):
        client.transport.pause_reading()
        # Its answer to this comes while most of the rest has not been taken.
        connection.send_keepalive_ping()
        written = await frozen(connection)
        connection.give_up(4008)
        server.over.set()
        client.transport.resume_reading()
        assert await rest(client) == written
        assert client.close_code == 4008
        await eventually_async(lambda: server.taker.left)


async def test_a_client_that_does_not_wake_up_is_dropped(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LINGER_S", 0.05)
    async with talking(server) as (client, connection):
        client.transport.pause_reading()
        await frozen(connection)
        connection.give_up(4008)
        await eventually_async(lambda: server.taker.left)
        connection.give_up(4008)


async def test_a_client_that_pings_and_takes_nothing_fills_no_memory(server: Server) -> None:
    async with talking(server) as (client, connection):
        client.transport.pause_reading()
        await frozen(connection)
        waiting = connection.transport.get_write_buffer_size()
        pongs = [await client.ping(b"%0125d" % number) for number in range(500)]
        await eventually_async(lambda: connection._pong == _pong(499))
        assert connection.transport.get_write_buffer_size() <= waiting
        client.transport.resume_reading()
        # A pong answers all pings before it.
        async with asyncio.timeout(5):
            async for _ in client:
                if pongs[-1].done():
                    break
            await asyncio.gather(*pongs)


def _pong(number: int) -> bytes:
    """A pong as a server frames it (RFC 6455, section 5.2)."""
    return bytes([0x8A, 125]) + b"%0125d" % number
