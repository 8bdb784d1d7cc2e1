"""HTTP calls that are asked and answered whole, over the connections engines use.

For the control plane: a grant stands before every first token, and by httpx it cost 1.3 ms
of the broker's CPU (measured), more than all the rest of opening a stream.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Mapping
from functools import partial

import msgspec

from stream_broker.engines.call import HttpRequest
from stream_broker.engines.connection import EngineConnection
from stream_broker.engines.dial import dial
from stream_broker.engines.origin import origin_of
from stream_broker.engines.pool import IdlePool

CONNECTIONS_MAX = 64
# Shorter than what servers wait before they close an idle connection (uvicorn: 5 s).
IDLE_EXPIRY_S = 4.0
REPLY_MAX = 32 << 20
_TURN_BYTES = 64 << 10


class CallFailed(Exception):
    """No whole answer came in time."""


class NotConnected(CallFailed):
    """The server was not there to be asked."""


class Reply(msgspec.Struct, frozen=True):
    """A whole answer. Names of headers are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


class HttpCalls:
    """Calls to one server, each over in `timeout` seconds; at most `connections` at once
    (CONNECTIONS_MAX), the others wait for their turn within their time. `headers` go with every
    call. `tls`: asked for the context of each new connection, where the URL has https.
    `connect_timeout`: of that time, to open a connection; None: no less."""

    def __init__(
        self,
        base_url: str,
        headers: Mapping[str, str],
        timeout: float,
        clock: Callable[[], float],
        tls: Callable[[], ssl.SSLContext] | None = None,
        connections: int | None = None,
        connect_timeout: float | None = None,
    ) -> None:
        self._connect_timeout = connect_timeout
        self._origin = origin_of(base_url)
        self._tls = tls
        self._headers = tuple(headers.items())
        self._timeout = timeout
        self._clock = clock
        self._room = asyncio.Semaphore(connections or CONNECTIONS_MAX)
        self._pool: IdlePool[EngineConnection] = IdlePool(CONNECTIONS_MAX, IDLE_EXPIRY_S)
        self._open: set[EngineConnection] = set()

    async def send(
        self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> Reply:
        """Asks, and returns the whole answer, whatever its status. Raises CallFailed.

        A kept connection that the server has closed meanwhile is replaced once.
        """
        sent = (*self._headers, *(headers or {}).items())
        request = self._origin.encode(HttpRequest(method, path, sent, body))
        try:
            async with asyncio.timeout(self._timeout), self._room:
                connection = self._kept()
                if connection is not None:
                    reply = await self._ask(connection, request)
                    if reply is not None:
                        return reply
                reply = await self._ask(await self._connect(), request)
        except TimeoutError as error:
            raise CallFailed("TimeoutError") from error
        except (OSError, UnicodeError) as error:
            raise NotConnected(type(error).__name__) from error
        if reply is None:
            raise NotConnected("the connection was closed")
        return reply

    async def aclose(self) -> None:
        """Closes every connection; calls under way fail."""
        for connection in list(self._open):
            connection.abort()

    # For connections.

    def connection_idle(self, connection: EngineConnection) -> None:
        """Keeps it for the next call."""
        for surplus in self._pool.put(self._origin, connection, self._clock()):
            surplus.abort()

    def connection_gone(self, connection: EngineConnection) -> None:
        """Forgets it."""
        self._pool.discard(connection)
        self._open.discard(connection)

    # Private.

    def _kept(self) -> EngineConnection | None:
        now = self._clock()
        for old in self._pool.expire(now):
            old.abort()
        return self._pool.take(self._origin, now)

    async def _connect(self) -> EngineConnection:
        make = partial(EngineConnection, self, self._origin, _TURN_BYTES, self._clock)
        tls = self._tls() if self._tls is not None else None
        try:
            async with asyncio.timeout(self._connect_timeout):
                connection = await dial(self._origin, make, _TURN_BYTES, tls)
        except TimeoutError as error:
            raise NotConnected("no connection in time") from error
        self._open.add(connection)
        return connection

    async def _ask(self, connection: EngineConnection, request: bytes) -> Reply | None:
        """None when the connection was closed before a byte of the answer had come."""
        call = _Call(connection)
        connection.send(request, call, call.headers)
        try:
            return await call.reply
        finally:
            if not call.over:
                connection.abort()


class _Call:
    """One exchange: gathers the answer, which is wanted whole."""

    carry_max = 0

    def __init__(self, connection: EngineConnection) -> None:
        self.reply: asyncio.Future[Reply | None] = asyncio.get_running_loop().create_future()
        self.headers: dict[str, str] = {}
        self.over = False
        self._connection = connection
        self._body = bytearray()

    def body(self, _: int, data: bytes) -> None:
        """See Exchange."""
        self._body += data
        if len(self._body) > REPLY_MAX:
            self._connection.abort()
            self._fail("the answer is too long")

    def shortcut(self) -> None:
        """See Exchange."""

    def end(self, status: int, complete: bool) -> None:
        """See Exchange."""
        if complete and status:
            self.over = True
            if not self.reply.done():
                self.reply.set_result(Reply(status, self.headers, bytes(self._body)))
        elif not self._connection.heard:
            self.over = True
            if not self.reply.done():
                self.reply.set_result(None)
        else:
            self._fail("the answer was cut")

    def _fail(self, why: str) -> None:
        self.over = True
        if not self.reply.done():
            self.reply.set_exception(CallFailed(why))
