"""Redis's commands as bytes (RESP2), made without a client library: the path of every token."""

from __future__ import annotations

from collections.abc import Iterable


def encode(*words: bytes) -> bytes:
    """One command."""
    return b"*%d\r\n%b" % (len(words), arguments(words))


def arguments(words: Iterable[bytes]) -> bytes:
    """Words as they follow a command's count, for commands that are put together."""
    return b"".join([b"$%d\r\n%b\r\n" % (len(word), word) for word in words])
