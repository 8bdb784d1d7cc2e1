"""Events of a job's log and their one encoding.

An event is numbered and encoded once, by the relay; the log keeps name and data, and
every viewer of every shape is served from those bytes (CONTRACT, "Events").
"""

from __future__ import annotations

from typing import Any

import msgspec

TERMINAL = frozenset({"job_complete", "job_error", "job_cancelled"})

_TOKEN = b'"token":'
_TS = b',"ts":'

_encode = msgspec.json.Encoder().encode


# Bytes that an event costs besides its data: its frame on the wire, its object in memory.
OVERHEAD = 48


class Event(msgspec.Struct, gc=False, eq=False):
    """One entry of a log. `data` is a JSON object, one line, no trailing newline.

    A msgspec struct because one is made per token: 0.08 us against 0.25 us.
    """

    seq: int
    name: str
    data: bytes
    _block: bytes | None = None

    @property
    def block(self) -> bytes:
        """The SSE block; made once and shared by all viewers."""
        if self._block is None:
            self._block = b"id: %d\nevent: %b\ndata: %b\n\n" % (
                self.seq,
                self.name.encode(),
                self.data,
            )
        return self._block

    def forget_block(self) -> None:
        """Frees the block; it can be made again."""
        self._block = None

    @property
    def terminal(self) -> bool:
        """Does this event end its job?"""
        return self.name in TERMINAL

    @property
    def size(self) -> int:
        """Bytes that count against the bounds of windows and logs."""
        return len(self.data) + OVERHEAD

    def body(self) -> dict[str, Any]:
        """The decoded data."""
        decoded: dict[str, Any] = msgspec.json.decode(self.data)
        return decoded

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Event):
            return NotImplemented
        return (self.seq, self.name, self.data) == (other.seq, other.name, other.data)

    def __hash__(self) -> int:
        return hash((self.seq, self.name, self.data))

    def __repr__(self) -> str:
        return f"Event({self.seq}, {self.name}, {self.data!r})"


def token_json(event: Event) -> bytes:
    """The text of a `token` event as the JSON string that its data holds.

    Between the first `"token":`, which only digits precede but for the job's id, and the
    last `,"ts":`, which a number follows: neither can stand there within a JSON string.
    """
    data = event.data
    return data[data.index(_TOKEN) + len(_TOKEN) : data.rindex(_TS)]


class EventEncoder:
    """Makes the events of one job. The common prefix of `data` is encoded once."""

    __slots__ = ("_prefix",)

    def __init__(self, job_id: str) -> None:
        self._prefix = b'{"job_id":' + _encode(job_id) + b',"seq":'

    def text(self, seq: int, name: str, text: str, ts: float) -> Event:
        """A `token` or `reasoning` event; `ts` in Unix seconds, kept to the microsecond."""
        return self.stamped(seq, name, text, b"%.6f" % ts)

    def stamped(self, seq: int, name: str, text: str, stamp: bytes) -> Event:
        """The same with `ts` as it is written: what one read brought shares one stamp."""
        return Event(
            seq,
            name,
            b'%b%d,"%b":%b,"ts":%b}' % (self._prefix, seq, name.encode(), _encode(text), stamp),
        )

    def tokens(self, first: int, texts: list[str], stamp: bytes) -> list[Event]:
        """Token events of one read, numbered from `first` on; `stamp` as above."""
        prefix, tail = self._prefix, b',"ts":%b}' % stamp
        return [
            Event(seq, "token", b'%b%d,"token":%b%b' % (prefix, seq, _encode(text), tail))
            for seq, text in enumerate(texts, first)
        ]

    def other(self, seq: int, name: str, members: dict[str, Any]) -> Event:
        """Any other event; `members` follow `job_id` and `seq`."""
        body = _encode(members)
        return Event(
            seq, name, b"%b%d%b%b" % (self._prefix, seq, b"," if members else b"", body[1:])
        )
