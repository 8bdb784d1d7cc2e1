"""Reading a job's log and record in Redis, and no further than they are durable.

A reader on another connection sees an entry before any replica has it. So what is read
and not known to be durable is asked for again together with a WAIT of the reader's own: on
one connection, after a write, so that the acknowledgement covers all that was read.
Without it only what the record says of itself counts (`durable`, which each append
brings up to the one before).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from stream_broker.events import Event
from stream_broker.log.keys import Keys
from stream_broker.log.store import WAIT_MS
from stream_broker.log.stores import Stores
from stream_broker.record import JobHead, JobState

_HEAD = msgspec.json.Decoder(JobHead)
_READ_COUNT = 512
# Hardly an event is smaller (`Event.size`): who reads 8 KiB need not be sent 100.
_ENTRY_MIN = 128

Entries = list[tuple[bytes, dict[bytes, bytes]]]
Record = dict[bytes, bytes]


class Reader:
    """Reads what the stores hold of jobs."""

    def __init__(self, stores: Stores) -> None:
        self._stores = stores

    async def read(self, keys: Keys, job_id: str, after: int, max_bytes: int) -> list[Event]:
        """Durable events after `after`, about `max_bytes` of them."""
        events: list[Event] = []
        while max_bytes > 0:
            count = min(_READ_COUNT, max_bytes // _ENTRY_MIN + 1)
            entries = await self._page(keys, job_id, after, count)
            for entry_id, fields in entries:
                event = event_of(entry_id, fields)
                events.append(event)
                after = event.seq
                max_bytes -= event.size
                if max_bytes <= 0:
                    return events
            if len(entries) < count:
                break
        return events

    async def _page(self, keys: Keys, job_id: str, after: int, count: int) -> Entries:
        def build(pipe: Any) -> None:
            pipe.hget(keys.job(job_id), "durable")
            pipe.xrange(keys.log(job_id), f"({after}-0", "+", count)

        entries: Entries
        durable, entries = await self._look(keys, build)
        if not entries or not self._stores.acks or _seq(entries[-1]) <= int(durable or 0):
            return entries
        durable, entries, acked = await self._look(keys, build, confirm=True)
        if acked:
            return entries
        return [entry for entry in entries if _seq(entry) <= int(durable or 0)]

    async def state(self, keys: Keys, job_id: str) -> JobState | None:
        """The job's record, or None when there is none."""

        def build(pipe: Any) -> None:
            pipe.hgetall(keys.job(job_id))
            pipe.exists(keys.log(job_id))
            pipe.zscore(keys.relays, job_id)

        record, has_log, leased = await self._look(keys, build)
        acked = not self._stores.acks
        if record and not acked and int(record.get(b"durable", 0)) < int(record[b"last_seq"]):
            record, has_log, leased, acked = await self._look(keys, build, confirm=True)
        if not record:
            return None
        state = state_of(record if acked else shown(record))
        state.reach = int(record[b"last_seq"])
        state.log_expired = state.end_name is not None and not has_log
        state.relayed = leased is not None
        return state

    async def _look(
        self, keys: Keys, build: Callable[[Any], object], *, confirm: bool = False
    ) -> list[Any]:
        """A pipeline's answers; with `confirm` also whether what they show is durable."""
        acks = self._stores.acks

        async def look(redis: Any) -> list[Any]:
            async with redis.pipeline(transaction=False) as pipe:
                build(pipe)
                if confirm:
                    pipe.set(keys.touched, 1)
                    pipe.wait(acks, WAIT_MS)
                found: list[Any] = await pipe.execute()
            if confirm:
                found[-2:] = [found[-1] >= acks]
            return found

        return await self._stores.ask(keys.tag, look)


def shown(record: Record) -> Record:
    """A record as it was when its last durable event was the last one."""
    durable = record.get(b"durable") or b"0"
    if int(durable) >= int(record[b"last_seq"]):
        return record
    hidden = (b"end_name", b"end", b"ended_at")
    kept = {name: value for name, value in record.items() if name not in hidden}
    return kept | {b"last_seq": durable}


def _seq(entry: tuple[bytes, Any]) -> int:
    return int(entry[0].partition(b"-")[0])


def event_of(entry_id: bytes, fields: dict[bytes, bytes]) -> Event:
    """The event that a stream entry holds."""
    return Event(int(entry_id.partition(b"-")[0]), fields[b"n"].decode(), fields[b"d"])


def state_of(record: Record) -> JobState:
    """The record, decoded."""
    end = record.get(b"end")
    return JobState(
        head=_HEAD.decode(record[b"head"]),
        engine=int(record.get(b"engine", 0)),
        last_seq=int(record[b"last_seq"]),
        first_token_at=_time(record.get(b"first_token_at")),
        ended_at=_time(record.get(b"ended_at")),
        end_name=record[b"end_name"].decode() if b"end_name" in record else None,
        end=msgspec.json.decode(end) if end else None,
    )


def _time(raw: bytes | None) -> float | None:
    return float(raw) if raw else None
