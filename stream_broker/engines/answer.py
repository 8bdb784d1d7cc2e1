"""One HTTP/1.1 answer out of its bytes: status, body, and where the body ends."""

from __future__ import annotations

from typing import Final

import httptools

HEAD_MAX: Final = 64 << 10

_HTTP_ERRORS: Final = (httptools.HttpParserError, httptools.HttpParserUpgrade)


class HttpAnswer:
    """Takes the bytes of one answer. `headers`, if given, is filled: lower case, the last
    of each name.

    Attributes: `heard`, whether a byte has come; `status`, 0 until the head is whole;
    `complete`, the body's end was seen; `broken`, the bytes are not HTTP, or the head is
    longer than HEAD_MAX.
    """

    __slots__ = (
        "_delimited",
        "_head_bytes",
        "_headers",
        "_http",
        "_keep_alive",
        "_parts",
        "broken",
        "complete",
        "heard",
        "status",
    )

    def __init__(self, headers: dict[str, str] | None = None) -> None:
        self._headers = headers
        self._http = httptools.HttpResponseParser(self)
        self._parts: list[bytes] = []
        self._head_bytes = 0
        self._delimited = False
        self._keep_alive = False
        self.heard = False
        self.status = 0
        self.complete = False
        self.broken = False

    def feed(self, data: bytes) -> bytes:
        """The piece of the body that `data` brings, out of its transfer coding."""
        self.heard = True
        try:
            self._http.feed_data(data)
        except _HTTP_ERRORS:
            self.broken = True
        if not self.status:
            self._head_bytes += len(data)
            self.broken |= self._head_bytes > HEAD_MAX
        parts = self._parts
        if len(parts) == 1:
            return parts.pop()
        self._parts = []
        return b"".join(parts)

    @property
    def reusable(self) -> bool:
        """The connection may carry another exchange."""
        return self.complete and self._keep_alive and not self.broken

    @property
    def ends_with_close(self) -> bool:
        """An orderly close is the body's end, for it has no other (RFC 9112, 6.3)."""
        return self.status > 0 and not self._delimited

    # For httptools.

    def on_message_begin(self) -> None:
        """More than one answer to one request spoils the connection."""
        self.broken |= self.complete

    def on_header(self, name: bytes, value: bytes) -> None:
        """Notes whether the body itself says where it ends."""
        name = name.lower()
        if name in (b"content-length", b"transfer-encoding"):
            self._delimited = True
        if self._headers is not None:
            self._headers[name.decode("latin-1")] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        """Notes the status, unless the answer is an interim one (1xx)."""
        status = self._http.get_status_code()
        if status >= 200 and not self.complete:
            self.status = status
            self._keep_alive = self._http.should_keep_alive()

    def on_body(self, data: bytes) -> None:
        """Collects: in one read there may be many chunks."""
        if not self.complete:
            self._parts.append(data)

    def on_message_complete(self) -> None:
        """The answer is whole, unless it was an interim one."""
        self.complete = self.status > 0
