"""Makes loopback sockets as shallow as those of a LAN.

The loopback's segments are 64 KiB, and the kernel sizes a sender's buffer by ten and more of
them: megabytes a stream. When the engine is unthrottled they fill, and what is measured then
is the kernel's queue, half a minute deep (nginx: 33 s). With an Ethernet's segments on both
ends a proxy's own buffers are what they would be in service.
"""

from __future__ import annotations

import socket
from typing import Final

_SEGMENT: Final = 1448
_BUFFER: Final = 64 << 10


def make_shallow(sock: socket.socket) -> None:
    """For a socket before it connects or listens; accepted ones inherit it."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, _SEGMENT)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
