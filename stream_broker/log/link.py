"""One connection to one Redis: a pipeline out in one write, its replies in.

One call at a time. A call that is not answered in time, or is cut off, closes the
connection: an answer that came late must never be taken for another call's.
"""

from __future__ import annotations

import asyncio
import socket
from typing import Any, cast

import hiredis

from stream_broker.log.base import LogUnavailable
from stream_broker.log.resp import encode
from stream_broker.log.store import Address


class Link(asyncio.Protocol):
    """An open connection; `open_link` makes one."""

    def __init__(self) -> None:
        self._reader = hiredis.Reader(replyError=hiredis.ReplyError)
        self._transport: asyncio.Transport | None = None
        self._waiter: asyncio.Future[list[Any]] | None = None
        self._replies: list[Any] = []
        self._wanted = 0
        self.closed = False

    async def call(self, payload: bytes, count: int, timeout: float) -> list[Any]:
        """Sends commands and returns their `count` replies; errors stand among them.

        Raises LogUnavailable when they are not all there within `timeout` seconds.
        """
        if self.closed or self._transport is None:
            raise LogUnavailable("the connection has ended")
        assert self._waiter is None, "one call at a time"  # noqa: S101
        loop = asyncio.get_running_loop()
        self._waiter = loop.create_future()
        self._wanted = count
        timer = loop.call_later(timeout, self._fail, f"no answer within {timeout:g} s")
        self._transport.write(payload)
        try:
            return await self._waiter
        finally:
            timer.cancel()
            self._waiter = None
            if len(self._replies) < count:
                self.close()
            self._replies = []

    def close(self) -> None:
        """Ends the connection, and the call that waits for it."""
        self._fail("the connection was closed")

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.Protocol."""
        # Not `isinstance`: uvloop's is none by descent.
        self._transport = cast(asyncio.Transport, transport)
        sock = transport.get_extra_info("socket")
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.Protocol."""
        self._fail("the connection has ended" if exc is None else str(exc))

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        try:
            self._reader.feed(data)
            while (reply := self._reader.gets()) is not False:
                self._replies.append(reply)
        except hiredis.ProtocolError as error:
            self._fail(f"not Redis: {error}")
            return
        if len(self._replies) > self._wanted or self._waiter is None:
            self._fail("an answer that nobody asked for")
        elif len(self._replies) == self._wanted and not self._waiter.done():
            self._waiter.set_result(self._replies)

    def _fail(self, reason: str) -> None:
        self.closed = True
        if self._transport is not None:
            self._transport.abort()
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(LogUnavailable(reason))


async def open_link(
    address: Address, timeout: float, *, password: str = "", setup: tuple[bytes, ...] = ()
) -> Link:
    """Connects, signs in where there is a password, and sends the commands of `setup`.

    Raises LogUnavailable, also when one of them is refused.
    """
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(timeout):
            _, link = await loop.create_connection(Link, *address)
    except (OSError, TimeoutError) as error:
        raise LogUnavailable(f"{address}: {error or 'no connection in time'}") from error
    commands = [encode(b"AUTH", password.encode())] if password else []
    commands += setup
    if not commands:
        return link
    try:
        for reply in await link.call(b"".join(commands), len(commands), timeout):
            if isinstance(reply, hiredis.ReplyError):
                raise LogUnavailable(f"{address}: {reply}")
    except BaseException:
        link.close()
        raise
    return link
