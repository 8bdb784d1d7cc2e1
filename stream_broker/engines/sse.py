"""Server-sent events as engines write them: bytes in, event blocks and their data out.

Source: WHATWG HTML, "Server-sent events", 9.2.5 and 9.2.6. Only `data` matters here, so
an event is cut out whole, at the blank line that ends it, and the common event of a
single `data:` line costs one search and one slice.
"""

from __future__ import annotations

from typing import Final

from stream_broker.engines.blocks import BlockCutter

BOM: Final = b"\xef\xbb\xbf"
# As a number: a search for `b"\r"` takes six times as long (0.24 us in 240 bytes).
CR: Final = 13


class EventCutter(BlockCutter):
    """Cuts a stream into event blocks: the lines of one event, LF the only line end.

    One leading byte order mark is dropped; CR and CR LF end lines as LF does. An event
    that the stream does not end with a blank line is never returned. Comments without a
    blank line of their own stand in the block of the next event. An event longer than
    `limit` bytes sets `too_long` and ends the cutting.
    """

    __slots__ = ("_after_cr", "_begun", "_head")

    def __init__(self, limit: int) -> None:
        super().__init__(b"\n\n", limit)
        self._head = b""
        self._begun = False
        self._after_cr = False

    @property
    def between(self) -> bool:
        """Nothing is left over of what was fed: an event begins with the next byte."""
        return self._begun and not (self._after_cr or self._rest or self.too_long)

    def feed(self, data: bytes) -> list[bytes]:
        """The event blocks that `data` completes, in order."""
        if not self._begun:
            data = self._begin(data)
        if self._after_cr or CR in data:
            data = self._with_lf(data)
        return self.cut(data)

    def _begin(self, data: bytes) -> bytes:
        """The first bytes without a BOM; nothing while they may still become one."""
        self._head += data
        if len(self._head) < len(BOM) and BOM.startswith(self._head):
            return b""
        self._begun = True
        begun, self._head = self._head, b""
        return begun.removeprefix(BOM)

    def _with_lf(self, data: bytes) -> bytes:
        """A CR ends its line at once; an LF that comes in the next read is part of it."""
        if not data:
            return data
        if self._after_cr:
            data = data.removeprefix(b"\n")
        self._after_cr = data.endswith(b"\r")
        return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")


def data_of(block: bytes) -> bytes:
    """The data of an event: its `data` lines joined by LF; empty if it has none.

    Comments and other fields are ignored; so are blank lines that lead the block, which
    by the standard dispatch nothing.
    """
    if block.startswith(b"data: ") and b"\n" not in block:
        return block[6:]
    lines = []
    for line in block.split(b"\n"):
        name, _, value = line.partition(b":")
        if name == b"data":
            lines.append(value.removeprefix(b" "))
    return b"\n".join(lines)
