"""The text of a synthetic token, and the check that a stream of them is whole.

A token says which stream it belongs to, its number from 1 on, and when the engine wrote
it (CLOCK_MONOTONIC, nanoseconds: engine and client share a machine). The last token of a
stream ends with `!`, so that a lost tail is seen too.
"""

from __future__ import annotations

import re
from typing import Final

_TOKEN: Final = re.compile(rb"(\d{5})\.(\d{7})@(\d{16})([;!])")
# `"data":"[DONE]"` and the text of an error are short; what is kept unread stays below this.
_REST_MAX: Final = 16 << 10


def write_token(stream: int, number: int, now_ns: int, last: bool) -> bytes:
    """A token's text: always 31 bytes, none of which JSON would escape."""
    return b"%05d.%07d@%016d%c" % (stream, number, now_ns, b"!" if last else b";")


class TokenCheck:
    """Reads the tokens of one stream out of an SSE body in any pieces and any JSON.

    `lost`, `repeated`, `swapped` (came after a later one) and `foreign` (of another
    stream) count what a faultless proxy never does.
    """

    __slots__ = ("_missing", "_rest", "_stream", "count", "foreign", "repeated", "swapped", "tail")

    def __init__(self, stream: int) -> None:
        self._stream = stream
        self._rest = b""
        self._missing: set[int] = set()
        self.count = 0
        self.repeated = 0
        self.swapped = 0
        self.foreign = 0
        self.tail = False

    def feed(self, body: bytes) -> list[int]:
        """When the tokens that `body` completes were sent, in order of arrival."""
        data = self._rest + body if self._rest else body
        sent, end = [], 0
        for match in _TOKEN.finditer(data):
            stream, number, stamp, mark = match.groups()
            sent.append(int(stamp))
            end = match.end()
            if int(number) == self.count + 1 and int(stream) == self._stream:
                self.count += 1
            else:
                self._odd(int(stream), int(number))
            if mark == b"!":
                self.tail = True
        self._rest = data[end:][-_REST_MAX:]
        return sent

    @property
    def lost(self) -> int:
        """Tokens that something behind them overtook and that never came, and a lost end."""
        return len(self._missing) + (self.done and not self.tail)

    @property
    def done(self) -> bool:
        """Whether the stream said `[DONE]` after its last token."""
        return b"[DONE]" in self._rest

    @property
    def rest(self) -> bytes:
        """What came after the last token: the end of the stream, or an error."""
        return self._rest

    def _odd(self, stream: int, number: int) -> None:
        if stream != self._stream:
            self.foreign += 1
        elif number > self.count:
            self._missing.update(range(self.count + 1, number))
            self.count = number
        elif number in self._missing:
            self._missing.remove(number)
            self.swapped += 1
        else:
            self.repeated += 1
