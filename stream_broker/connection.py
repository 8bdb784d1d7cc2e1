"""uvicorn's connections with small buffers, direct frames, and an end.

uvicorn leaves asyncio's 64 KiB write buffer and the kernel's growing one in place, so a
reader that stops is felt only after hundreds of tokens; a token by way of ASGI's `send`
costs a coroutine and a dictionary (docs/adr/0005-frames-past-asgi.md); and ASGI has no
word for dropping a connection together with what is queued for it.
"""

from __future__ import annotations

import asyncio
import fcntl
import socket
import struct
import termios
from typing import Any, Protocol, cast

import httptools
from uvicorn._types import ASGI3Application, ASGISendEvent
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.http11 import Request

from stream_broker.lean import Answer, Flow, Pipeline

WRITE_BUFFER = 8 << 10
SEND_BUFFER = 64 << 10
EXTENSION = "okome.connection"
# A connection whose data the other side's kernel has not acknowledged for so long is gone:
# a half-open one that only gets keep-alives would fill no buffer for hours (RFC 5482).
USER_TIMEOUT_MS = 60_000
# How long the last words to a client that takes nothing are kept (seconds).
LINGER_S = 10.0


class Taker(Protocol):
    """Who writes frames to a connection, and hears what becomes of it."""

    def writable(self) -> None:
        """The client has taken enough for more to be written."""

    def gone(self) -> None:
        """The connection is closed."""


def bound_buffers(transport: asyncio.Transport) -> None:
    """Bounds what may wait for a slow reader, here and in the kernel."""
    transport.set_write_buffer_limits(high=WRITE_BUFFER)
    sock = cast(socket.socket | None, transport.get_extra_info("socket"))
    if sock is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, USER_TIMEOUT_MS)


def unsent(transport: asyncio.Transport) -> int:
    """Bytes that the client's kernel has not acknowledged: here, and in our kernel."""
    waiting = transport.get_write_buffer_size()
    sock = cast(socket.socket | None, transport.get_extra_info("socket"))
    if sock is not None and sock.fileno() >= 0:
        answer = fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, b"\0" * 4)
        waiting += struct.unpack("i", answer)[0]
    return waiting


class StreamConnection(HttpToolsProtocol):
    """One HTTP client connection; requests find it in their scope's extensions.

    `taker` is who writes frames of the answer that is being streamed, if any is; while
    the connection is `full` no more must be written, until `Taker.writable`.
    """

    __slots__ = ("_answer", "_cycle", "full", "taker")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.pipeline = Pipeline()  # type: ignore[assignment]
        self.taker: Taker | None = None
        self.full = False
        self._cycle: RequestResponseCycle | None = None
        self._answer: Answer | None = None

    @property
    def open(self) -> bool:
        """Not closed as far as is known."""
        return not self.transport.is_closing()

    def hand_over(self, taker: Taker) -> None:
        """From now on `taker` writes the answer whose head ASGI has sent, until `finish`.

        The task of the request may end, and all that was read of it is let go of; for
        uvicorn the answer goes on: a shutdown and the client's next request wait for it.
        """
        cycle = self._cycle
        assert cycle is not None  # noqa: S101  a head has been sent
        self.taker = taker
        self._answer = answer = Answer(keep_alive=cycle.keep_alive)
        self._cycle = None
        # Else uvicorn closes the connection of an answer whose task ends before it.
        cycle.disconnected = True
        if self.cycle is not cycle:
            return  # The next request has come already.
        self.cycle = answer  # type: ignore[assignment]
        self.flow.resume_reading()
        if not cycle.more_body and self.scope is cycle.scope:
            self.scope = self.headers = self.parser = None  # type: ignore[assignment]

    def write_frame(self, body: bytes) -> None:
        """A frame of the chunked answer whose head has been sent; `body` is not empty."""
        self.transport.write(b"%x\r\n%b\r\n" % (len(body), body))

    def finish(self) -> None:
        """Ends the answer that was handed over, in order: the next request has its turn."""
        answer, self._answer, self.taker = self._answer, None, None
        if answer is None or self.transport.is_closing():
            return
        answer.response_complete = True
        self.transport.write(b"0\r\n\r\n")
        if not answer.keep_alive:
            self.transport.close()
        self.on_response_complete()

    def cut(self) -> None:
        """Closes without an end of the answer, once what is queued has been taken."""
        self._answer = self.taker = None
        self.transport.close()

    def abort(self) -> None:
        """Drops the connection with whatever is still queued for it."""
        self.transport.abort()

    async def room(self) -> None:
        """Returns once the connection is not full, or is gone."""
        await self.flow.drain()

    def unsent(self) -> int:
        """See the function."""
        return unsent(self.transport)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Bounds the buffers."""
        super().connection_made(transport)
        self.flow = Flow(transport)  # type: ignore[assignment]
        bound_buffers(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tells the taker."""
        super().connection_lost(exc)
        if self.taker is not None:
            self.taker.gone()

    def pause_writing(self) -> None:
        """Notes it where a look is cheap."""
        super().pause_writing()
        self.full = True

    def resume_writing(self) -> None:
        """Tells the taker."""
        super().resume_writing()
        self.full = False
        if self.taker is not None:
            self.taker.writable()

    def data_received(self, data: bytes) -> None:
        """Reads the next request, as a rule after an answer that was handed over."""
        if self.parser is None:
            self.parser = httptools.HttpRequestParser(self)
            # As uvicorn has it.
            self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        super().data_received(data)

    def handle_websocket_upgrade(self) -> None:
        """Not in the middle of an answer, whose taker would hear nothing any more."""
        if self.taker is not None:
            self.abort()
        else:
            super().handle_websocket_upgrade()

    def on_headers_complete(self) -> None:
        """Adds the connection before the request's task runs."""
        super().on_headers_complete()
        extensions = self.scope.setdefault("extensions", {})
        extensions[EXTENSION] = self  # type: ignore[assignment]

    def on_body(self, body: bytes) -> None:
        """Drops what comes of a request whose answer was handed over: nobody reads it."""
        if not isinstance(self.cycle, Answer):
            super().on_body(body)

    def on_message_complete(self) -> None:
        """See `on_body`."""
        if not isinstance(self.cycle, Answer):
            super().on_message_complete()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        """Notes whose turn it is: `cycle` is of the last request that has come."""
        self._cycle = cycle
        super()._start_asgi_task(cycle, app)


class SocketConnection(WebSocketsSansIOProtocol):
    """One WebSocket connection, with the same additions; its frames are text messages."""

    taker: Taker | None = None
    full = False
    _pong = b""
    _closing: asyncio.Future[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Bounds the buffers."""
        super().connection_made(transport)
        bound_buffers(cast(asyncio.Transport, transport))

    def handle_connect(self, event: Request) -> None:
        """Adds the connection before its task runs."""
        super().handle_connect(event)
        self.scope.setdefault("extensions", {})[EXTENSION] = self  # type: ignore

    def connection_lost(self, exc: Exception | None) -> None:
        """Tells the taker."""
        super().connection_lost(exc)
        if self._closing is not None and not self._closing.done():
            self._closing.set_result(None)
        if self.taker is not None:
            self.taker.gone()

    def pause_writing(self) -> None:
        """Notes it where a look is cheap."""
        super().pause_writing()
        self.full = True

    def resume_writing(self) -> None:
        """Tells the taker."""
        super().resume_writing()
        self.full = False
        if self._pong and not self.close_sent:
            self.transport.write(self._pong)
        self._pong = b""
        if self.taker is not None:
            self.taker.writable()

    def handle_ping(self) -> None:
        """Answers when the client takes what it is sent, and then the last ping only.

        RFC 6455, 5.5.3; or a client that pings and never reads would fill this memory.
        """
        pongs = self.conn.data_to_send()
        if not self.full:
            self.transport.write(b"".join(pongs))
        elif pongs:
            self._pong = pongs[-1]

    def write_messages(self, messages: list[bytes]) -> None:
        """Text messages of an accepted connection, in one write; none once it is closing."""
        if self.close_sent or self.transport.is_closing():
            return
        for message in messages:
            self.conn.send_text(message)
        self.transport.write(b"".join(self.conn.data_to_send()))

    def unsent(self) -> int:
        """See the function."""
        return unsent(self.transport)

    def abort(self) -> None:
        """Drops the connection with whatever is still queued for it."""
        self.transport.abort()

    def give_up(self, code: int) -> None:
        """Closes with `code`, read or not: a client that wakes up soon is still told.

        It goes on being read: a socket that is closed before all has been taken answers
        the client's first word by a reset, and what had not been taken would be lost.
        """
        if self.close_sent or self.transport.is_closing():
            return
        self.conn.send_close(code)
        self.close_sent = True
        self.transport.write(b"".join(self.conn.data_to_send()))
        if self.read_paused:
            self.read_paused = False
            self.transport.resume_reading()
        self.close_timer = self.loop.call_later(LINGER_S, self.transport.abort)

    async def until_closed(self, timeout: float) -> None:
        """Waits until the client has answered the close, at most `timeout` seconds.

        A process that ends before that resets the connection, and the client may lose
        what it was told last.
        """
        self._closing = self.loop.create_future()
        if not self.disconnected:
            await asyncio.wait([self._closing], timeout=timeout)

    async def send(self, message: ASGISendEvent) -> None:
        """Counts a refusal as a finished handshake: uvicorn logs an error for each else."""
        await super().send(message)
        if message["type"] == "websocket.http.response.body" and not message.get("more_body"):
            self.handshake_complete = True
