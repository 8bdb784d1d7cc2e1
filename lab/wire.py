"""A bad link: delay, jitter and loss between a host's cable and the switch, in both directions.

Run in the switch's network, where kernels have no netem. It takes the cable's end off the
switch, puts a tap in its place and carries every frame itself, until SIGTERM or SIGINT.
Frames stay in order. Segmentation offload must be off on both ends (`whole_frames`).
"""

from __future__ import annotations

import argparse
import array
import fcntl
import heapq
import os
import random
import select
import signal
import socket
import struct
import subprocess
import sys
import time
from dataclasses import dataclass, field
from typing import NoReturn

_TUNSETIFF = 0x400454CA
_TAP_WITHOUT_INFO = 0x0002 | 0x1000
_SIOCETHTOOL = 0x8946
# Checksums, TCP segmentation, generic segmentation and its opposite.
_OFFLOADS = (0x17, 0x1F, 0x24, 0x2C)
_ETH_P_ALL = 3
_SOL_PACKET = 263
_ADD_MEMBERSHIP, _IGNORE_OUTGOING, _PROMISCUOUS = 1, 23, 1
_FRAME_MAX = 65_600
_AT_ONCE = 64
IN, OUT = 0, 1


@dataclass(frozen=True, slots=True)
class Link:
    """Seconds, and the share of frames that are lost (0 to 1), each way."""

    delay: float
    jitter: float
    loss: float


@dataclass
class Queue:
    """Frames that are under way. Pure: time is an argument."""

    link: Link
    chance: random.Random
    _waiting: list[tuple[float, int, int, bytes]] = field(default_factory=list)
    _last: list[float] = field(default_factory=lambda: [0.0, 0.0])
    _count: int = 0

    def put(self, now: float, way: int, frame: bytes) -> None:
        """One more; or it is lost."""
        if self.chance.random() < self.link.loss:
            return
        due = now + self.link.delay + self.chance.uniform(-1, 1) * self.link.jitter
        self._last[way] = due = max(due, self._last[way])
        self._count += 1
        heapq.heappush(self._waiting, (due, self._count, way, frame))

    def due(self, now: float) -> list[tuple[int, bytes]]:
        """Those that have arrived: (way, frame)."""
        arrived = []
        while self._waiting and self._waiting[0][0] <= now:
            _, _, way, frame = heapq.heappop(self._waiting)
            arrived.append((way, frame))
        return arrived

    def wait(self, now: float) -> float | None:
        """Seconds until the next one arrives; None when none is under way."""
        return max(0.0, self._waiting[0][0] - now) if self._waiting else None


def whole_frames(interface: str) -> None:
    """Makes an interface send frames as a wire carries them. Raises OSError."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        for offload in _OFFLOADS:
            wanted = array.array("I", [offload, 0])
            address, _ = wanted.buffer_info()
            fcntl.ioctl(control, _SIOCETHTOOL, struct.pack("16sP", interface.encode(), address))


def carry(port: str, link: Link) -> None:
    """Carries frames until interrupted."""
    tap = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    name = f"t{port}"[:15]
    fcntl.ioctl(tap, _TUNSETIFF, struct.pack("16sH", name.encode(), _TAP_WITHOUT_INFO))
    whole_frames(port)
    with _raw(port) as cable:
        _ip("link", "set", port, "nomaster")
        _ip("link", "set", name, "master", "br0", "up")
        print("ready", flush=True)
        try:
            _loop(Queue(link, random.Random()), tap, cable)  # noqa: S311 - no secret
        finally:
            os.close(tap)
            _ip("link", "set", port, "master", "br0")


def _loop(queue: Queue, tap: int, cable: socket.socket) -> None:
    poll = select.epoll()
    poll.register(tap, select.EPOLLIN)
    poll.register(cable.fileno(), select.EPOLLIN)
    while True:
        for source, _ in poll.poll(queue.wait(time.monotonic())):
            for _ in range(_AT_ONCE):
                try:
                    whole = os.read(tap, _FRAME_MAX) if source == tap else cable.recv(_FRAME_MAX)
                except BlockingIOError:
                    break
                queue.put(time.monotonic(), OUT if source == tap else IN, whole)
        for way, frame in queue.due(time.monotonic()):
            try:
                _ = os.write(tap, frame) if way == IN else cable.send(frame)
            except OSError:
                continue  # as a wire that is full: the frame is lost


def _raw(port: str) -> socket.socket:
    raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL))
    raw.bind((port, 0))
    raw.setblocking(False)
    index = socket.if_nametoindex(port)
    member = struct.pack("iHH8s", index, _PROMISCUOUS, 0, b"")
    raw.setsockopt(_SOL_PACKET, _ADD_MEMBERSHIP, member)
    raw.setsockopt(_SOL_PACKET, _IGNORE_OUTGOING, 1)
    return raw


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


def _stop(*_: object) -> NoReturn:
    raise SystemExit(0)


def main() -> int:
    """As `lab/drills.py` starts it; prints `ready` once every frame goes this way."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("port")
    parser.add_argument("--delay", type=float, default=0.0, help="seconds, each way")
    parser.add_argument("--jitter", type=float, default=0.0, help="seconds more or less")
    parser.add_argument("--loss", type=float, default=0.0, help="share of frames, 0 to 1")
    given = parser.parse_args()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _stop)
    carry(given.port, Link(given.delay, given.jitter, given.loss))
    return 0


if __name__ == "__main__":
    sys.exit(main())
