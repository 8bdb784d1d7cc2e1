"""Takes the body out of an HTTP/1.1 response, in any pieces. Pure."""

from __future__ import annotations

from typing import Final

_HEAD_MAX: Final = 64 << 10


class BadResponse(Exception):
    """What came is not an HTTP/1.1 response that a stream can be read from."""


class ResponseBody:
    """One response: chunked, with a length, or ended by the connection's end."""

    __slots__ = ("_chunked", "_left", "_rest", "ended", "head", "status")

    def __init__(self) -> None:
        self._rest = b""
        self._chunked = False
        # Bytes of the body still to come (of the chunk, with its line end); None: not known.
        self._left: int | None = 0
        self.head = b""
        self.status = 0
        self.ended = False

    def feed(self, data: bytes) -> bytes:
        """The part of the body that `data` completes. Raises BadResponse."""
        if not self.head:
            data = self._begin(self._rest + data)
        if not data or self.ended:
            return b""
        if self._chunked:
            return self._chunks(self._rest + data)
        if self._left is not None:
            self._left -= len(data)
            self.ended = self._left <= 0
        return data

    def _begin(self, data: bytes) -> bytes:
        end = data.find(b"\r\n\r\n")
        if end < 0:
            if len(data) > _HEAD_MAX:
                raise BadResponse("a head without an end")
            self._rest = data
            return b""
        self._rest, self.head = b"", data[: end + 4]
        try:
            self.status = int(data.split(b" ", 2)[1])
            self._frame(self.head.lower())
        except (IndexError, ValueError) as error:
            raise BadResponse(f"not HTTP: {data[:60]!r}") from error
        return data[end + 4 :]

    def _frame(self, head: bytes) -> None:
        length = head.partition(b"\r\ncontent-length:")[2]
        self._chunked = b"\r\ntransfer-encoding: chunked" in head
        if not self._chunked:
            self._left = int(length.split(b"\r\n", 1)[0]) if length else None
            self.ended = self._left == 0

    def _chunks(self, data: bytes) -> bytes:
        parts, at = [], 0
        while True:
            line = data.find(b"\r\n", at)
            if line < 0:
                break
            size = int(data[at:line].split(b";")[0], 16)
            if size == 0:
                # No trailer was ever seen here; one blank line ends the body.
                self.ended = len(data) >= line + 4
                at = line + 4 if self.ended else at
                break
            end = line + 2 + size
            if len(data) < end + 2:
                break
            parts.append(data[line + 2 : end])
            at = end + 2
        self._rest = data[at:]
        return b"".join(parts)
