"""Opening a connection to an engine."""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import os
import socket
import ssl
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, Final, TypeVar

from stream_broker.engines.origin import Origin

# An engine whose machine has lost its power says nothing, as one that thinks: after 2 s of
# silence its kernel is asked every second, and after three questions it is gone.
_KEEPALIVE: Final = (("TCP_KEEPIDLE", 2), ("TCP_KEEPINTVL", 1), ("TCP_KEEPCNT", 3))

P = TypeVar("P", bound=asyncio.Protocol)
AddressInfo = tuple[int, int, int, str, tuple[Any, ...]]


async def dial(
    origin: Origin,
    make: Callable[[], P],
    receive_buffer: int,
    tls: ssl.SSLContext | None = None,
) -> P:
    """Connects to the first address that answers. Raises OSError or UnicodeError.

    `tls` in place of the machine's own authorities, where the origin has TLS.
    """
    sock = await connect(origin, receive_buffer)
    return await _wrap(asyncio.get_running_loop(), sock, origin, make, tls)


async def connect(origin: Origin, receive_buffer: int | None = None) -> socket.socket:
    """A connection to the first address that answers. Raises OSError or UnicodeError."""
    loop = asyncio.get_running_loop()
    refused: OSError | None = None
    for family, kind, number, _, address in await _resolve(loop, origin):
        try:
            return await _connect(loop, (family, kind, number), address, receive_buffer)
        except OSError as error:
            refused = error
    raise refused or OSError("no address")


async def _resolve(loop: asyncio.AbstractEventLoop, origin: Origin) -> Sequence[AddressInfo]:
    literal = _literal(origin.host, origin.port)
    if literal is not None:
        return (literal,)
    return await loop.getaddrinfo(origin.host, origin.port, type=socket.SOCK_STREAM)


@lru_cache(maxsize=256)
def _literal(host: str, port: int) -> AddressInfo | None:
    """Where a host leads that is an address already; None for a name, or with a scope."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    if address.version == 4:
        return socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (host, port)
    if "%" in host:
        return None
    return socket.AF_INET6, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (host, port, 0, 0)


async def _connect(
    loop: asyncio.AbstractEventLoop,
    kind: tuple[int, int, int],
    address: tuple[Any, ...],
    receive_buffer: int | None,
) -> socket.socket:
    sock = socket.socket(*kind)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if receive_buffer is not None:
            # Before connect, for it sets the window; small, for a socket that can hold
            # megabytes is drained for as long before another one is read.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in _KEEPALIVE:
            if hasattr(socket, name):
                sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
        await _reach(loop, sock, address)
    except BaseException:
        sock.close()
        raise
    return sock


async def _reach(
    loop: asyncio.AbstractEventLoop, sock: socket.socket, address: tuple[Any, ...]
) -> None:
    """As the loop's `sock_connect`, which in uvloop has a thread look up every address, even one
    that is a number: 53 us of CPU a connection, and 28 without (measured)."""
    number = sock.connect_ex(address)
    if number == errno.EINPROGRESS:
        answered: asyncio.Future[None] = loop.create_future()
        loop.add_writer(sock, _set, answered)
        try:
            await answered
        finally:
            loop.remove_writer(sock)
        number = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if number:
        raise OSError(number, os.strerror(number))


def _set(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


async def _wrap(
    loop: asyncio.AbstractEventLoop,
    sock: socket.socket,
    origin: Origin,
    make: Callable[[], P],
    tls: ssl.SSLContext | None,
) -> P:
    try:
        _, protocol = await loop.create_connection(
            make,
            sock=sock,
            ssl=(tls or _tls()) if origin.tls else None,
            server_hostname=origin.host if origin.tls else None,
        )
    except BaseException:
        sock.close()
        raise
    return protocol


@lru_cache(maxsize=1)
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context()
