"""A flush as the bytes of one pipeline, and what its replies mean. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import hiredis

from stream_broker.log import scripts
from stream_broker.log.base import Append, LogUnavailable, Outcome
from stream_broker.log.keys import KeySpace
from stream_broker.log.resp import arguments, encode
from stream_broker.log.store import WAIT_MS, digest, passing

LOAD = encode(b"SCRIPT", b"LOAD", scripts.APPEND.encode())

_OUTCOMES: dict[int, Outcome] = {1: "stored", 0: "fenced", -1: "missing", -2: "missing"}
_BEFORE_EVENTS = 14
_NO_END = arguments((b"", b""))
# Jobs that are remembered: more than one broker relays at once.
_JOBS_MAX = 8192


def wait(acks: int) -> bytes:
    """Waits until `acks` replicas have what was written on this connection, or not."""
    return encode(b"WAIT", b"%d" % acks, b"%d" % WAIT_MS)


class AppendEncoder:
    """Encodes appends. What stays the same from one of a job's to the next is kept.

    Lifetimes in seconds.
    """

    def __init__(self, keys: KeySpace, log_ttl: int, record_ttl: int) -> None:
        self._keys = keys
        self._call = arguments([b"EVALSHA", digest(scripts.APPEND).encode(), b"3"])
        self._lifetimes = arguments([b"%d" % log_ttl, b"%d" % record_ttl])
        self._names: dict[str, bytes] = {}
        self._begun: dict[str, tuple[int, float | None, bytes]] = {}

    def encode(self, entry: Append, durable: int | None) -> bytes:
        """One append. `durable`: up to where replicas are known to have the job's log."""
        events = entry.events
        last = events[-1]
        known = b"" if durable is None else b"%d" % durable
        end = arguments((_time(entry.ended_at), last.name.encode())) if last.terminal else _NO_END
        begun = b"*%d\r\n%b$%d\r\n%b\r\n%b" % (
            _BEFORE_EVENTS + 3 * len(events),
            self._begin(entry),
            len(known),
            known,
            end,
        )
        if last.terminal:
            self._begun.pop(entry.job_id, None)
        names = self._names
        parts = [begun]
        for event in events:
            seq, data = b"%d" % event.seq, event.data
            name = names.get(event.name) or self._name(event.name)
            parts.append(b"$%d\r\n%b\r\n%b$%d\r\n%b\r\n" % (len(seq), seq, name, len(data), data))
        return b"".join(parts)

    def _begin(self, entry: Append) -> bytes:
        begun = self._begun.get(entry.job_id)
        if begun is None or begun[0] != entry.epoch or begun[1] != entry.first_token_at:
            begun = entry.epoch, entry.first_token_at, self._begin_anew(entry)
            self._begun[entry.job_id] = begun
            if len(self._begun) > _JOBS_MAX:
                del self._begun[next(iter(self._begun))]
        return begun[2]

    def _begin_anew(self, entry: Append) -> bytes:
        job_id = entry.job_id
        keys = self._keys.of_job(job_id)
        if keys is None:
            raise LogUnavailable(f"no home for {job_id}")
        names = keys.job(job_id), keys.log(job_id), keys.relays, job_id, str(entry.epoch)
        return b"".join(
            (
                self._call,
                arguments([name.encode() for name in names]),
                self._lifetimes,
                arguments([_time(entry.first_token_at)]),
            )
        )

    def _name(self, name: str) -> bytes:
        known = self._names[name] = arguments([name.encode()])
        return known


def outcomes(replies: Sequence[Any]) -> list[Outcome]:
    """What became of each append.

    Raises LogUnavailable when one was not taken now but may be later. One that will never
    be taken is `missing`: it must not hold up the others.
    """
    found: list[Outcome] = []
    for reply in replies:
        if isinstance(reply, hiredis.ReplyError):
            if passing(str(reply)):
                raise LogUnavailable(str(reply))
            found.append("missing")
        else:
            found.append(_OUTCOMES[int(reply)])
    return found


def refusals(replies: Sequence[Any]) -> list[str]:
    """The error replies that say that something of ours is wrong."""
    errors = (str(reply) for reply in replies if isinstance(reply, hiredis.ReplyError))
    return [error for error in errors if not passing(error)]


def _time(moment: float | None) -> bytes:
    return b"" if moment is None else repr(moment).encode()
