"""The reading side of one connection: a request out, a stream in, every token looked at."""

from __future__ import annotations

import asyncio
import socket
import time
from typing import cast

from bench.http_body import BadResponse, ResponseBody
from bench.lan import make_shallow
from bench.meter import Meter
from bench.tokens import TokenCheck

_FROZEN_BUFFER = 16 << 10
# One for all connections: what a read brings is taken out of it before the next read.
_BUFFER = bytearray(32 << 10)


class Reader(asyncio.BufferedProtocol):
    """One connection to the proxy, on which one answer at a time is read.

    `began` is done at the first token, `over` at the end; both carry what went wrong as
    text, or None. With `freeze` it stops reading at the first token, for good.
    """

    def __init__(self, meter: Meter, *, freeze: bool = False) -> None:
        self._meter = meter
        self._freeze = freeze
        self._before = 0
        self._asked = 0
        self.closed = False

    def ask(self, request: bytes, stream: int) -> None:
        """Sends a request. The one before it has to be over."""
        loop = asyncio.get_running_loop()
        self.check = TokenCheck(stream)
        self.began: asyncio.Future[str | None] = loop.create_future()
        self.over: asyncio.Future[str | None] = loop.create_future()
        self._body = ResponseBody()
        self._before = 0
        self._asked = time.monotonic_ns()
        self._transport.write(request)

    def close(self) -> None:
        """Leaves, whatever is still to come."""
        self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def get_buffer(self, sizehint: int) -> bytearray:  # noqa: ARG002  # the loop's name for it
        return _BUFFER

    def buffer_updated(self, nbytes: int) -> None:
        now = time.monotonic_ns()
        self._read(bytes(_BUFFER[:nbytes]), now)
        if nbytes == len(_BUFFER) and not self.closed and not self._freeze:
            # libuv reads a socket up to 32 times before it looks at the next one: with a
            # backlog in every socket a turn of the loop would take seconds.
            self._transport.pause_reading()
            asyncio.get_running_loop().call_soon(self._go_on)

    def _go_on(self) -> None:
        if not self._transport.is_closing():
            self._transport.resume_reading()

    def _read(self, data: bytes, now: int) -> None:
        try:
            sent = self.check.feed(self._body.feed(data))
        except BadResponse as error:
            self._finish(str(error))
            return
        if sent:
            self._tokens(sent, now)
        if self._body.ended:
            self._end()

    def connection_lost(self, _: Exception | None) -> None:
        self.closed = True
        if hasattr(self, "over"):
            self._end()

    def _tokens(self, sent: list[int], now: int) -> None:
        if not self._before:
            self._meter.ttft.append(now - self._asked)
            if not self.began.done():
                self.began.set_result(None)
            if self._freeze:
                self._transport.pause_reading()
        self._meter.take(sent, now, self._before)
        self._before = now

    def _end(self) -> None:
        if self._body.status == 200 and self.check.done:
            self._finish(None)
        else:
            said = self.check.rest[-300:] or self._body.head[:100]
            self._finish(f"ended without [DONE], status {self._body.status}: {said!r}")

    def _finish(self, error: str | None) -> None:
        for future in (self.began, self.over):
            if not future.done():
                future.set_result(error)


async def connect(address: str, port: int, meter: Meter, *, freeze: bool = False) -> Reader:
    """A new connection. A frozen one has a small buffer, as one of many tabs would."""
    loop = asyncio.get_running_loop()
    sock = socket.socket()
    sock.setblocking(False)
    make_shallow(sock)
    if freeze:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _FROZEN_BUFFER)
    try:
        await loop.sock_connect(sock, (address, port))
        _, reader = await loop.create_connection(lambda: Reader(meter, freeze=freeze), sock=sock)
    except OSError:
        sock.close()
        raise
    return reader
