"""uvicorn's HTTP connection with two additions: small buffers, and a way to abort.

uvicorn leaves asyncio's 64 KiB write buffer and the kernel's growing one in place, so a
reader that stops is felt only after hundreds of tokens; and ASGI has no word for
dropping a connection together with what is queued for it.
"""

from __future__ import annotations

import asyncio
import socket
from typing import cast

from uvicorn._types import ASGISendEvent
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.http11 import Request

WRITE_BUFFER = 16 << 10
SEND_BUFFER = 64 << 10


def bound_buffers(transport: asyncio.Transport) -> None:
    """Bounds what may wait for a slow reader, here and in the kernel."""
    transport.set_write_buffer_limits(high=WRITE_BUFFER)
    sock = cast(socket.socket | None, transport.get_extra_info("socket"))
    if sock is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


class StreamConnection(HttpToolsProtocol):
    """One HTTP client connection. Requests find `okome.abort` in their scope's extensions."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Bounds the buffers."""
        super().connection_made(transport)
        bound_buffers(transport)

    def on_headers_complete(self) -> None:
        """Adds the way to abort before the request's task runs."""
        super().on_headers_complete()
        extensions = self.scope.setdefault("extensions", {})
        extensions["okome.abort"] = self.transport.abort  # type: ignore[assignment]


class SocketConnection(WebSocketsSansIOProtocol):
    """One WebSocket connection, with the same addition."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Bounds the buffers."""
        super().connection_made(transport)
        bound_buffers(cast(asyncio.Transport, transport))

    def handle_connect(self, event: Request) -> None:
        """Adds the way to abort before the connection's task runs."""
        super().handle_connect(event)
        abort = self.transport.abort
        self.scope.setdefault("extensions", {})["okome.abort"] = abort  # type: ignore

    async def send(self, message: ASGISendEvent) -> None:
        """Counts a refusal as a finished handshake: uvicorn logs an error for each else."""
        await super().send(message)
        if message["type"] == "websocket.http.response.body" and not message.get("more_body"):
            self.handshake_complete = True
