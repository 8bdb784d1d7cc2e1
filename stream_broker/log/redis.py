"""The log in Redis: one stream and one hash per job, all steps as scripts.

Entries carry explicit ids `SEQ-0`, so the number of an event is fixed by the log
itself; a relay whose epoch is old is refused (`log/scripts.py`).
"""

from __future__ import annotations

from typing import Any

import msgspec

from inventory.model import Durability
from stream_broker.events import Event
from stream_broker.log import scripts
from stream_broker.log.base import Append, Claim, LogUnavailable, Orphan, Outcome
from stream_broker.log.keys import Keys, KeySpace
from stream_broker.log.store import Script, Scripts, translated
from stream_broker.record import JobHead, JobState

_OUTCOMES: dict[int, Outcome] = {1: "stored", 0: "fenced", -1: "missing", -2: "missing"}
_HEAD = msgspec.json.Decoder(JobHead)
_CLAIM = msgspec.json.Decoder(Claim)
_READ_COUNT = 512
# Hardly an event is smaller (`Event.size`): who reads 8 KiB need not be sent 100.
_ENTRY_MIN = 128


class RedisLog:
    """An EventLog in one Redis. Lifetimes in seconds; `lease` is a relay's TTL."""

    durability: Durability = "local"

    def __init__(
        self,
        redis: Any,
        keys: KeySpace,
        *,
        log_ttl: float,
        record_ttl: float,
        claim_ttl: float,
        lease: float,
    ) -> None:
        self._redis = redis
        self._keys = keys
        self._scripts = Scripts(redis)
        self._log_ttl = int(log_ttl)
        self._record_ttl = int(record_ttl)
        self._claim_ttl = int(claim_ttl)
        self._lease_ms = int(lease * 1000)

    async def create(self, head: JobHead) -> int:
        """Makes the record and its lease; the same again if it is there already."""
        keys = self._of(head.job_id)
        args = [head.job_id, msgspec.json.encode(head), self._lease_ms, self._running_ttl(head)]
        epoch = await self._scripts.run(scripts.CREATE, [keys.job(head.job_id), keys.relays], args)
        return int(epoch)

    async def append(self, batch: list[Append]) -> list[Outcome]:
        """One pipeline, one script a job."""
        calls: list[Script] = [self._append_call(entry) for entry in batch]
        replies = await self._scripts.run_all(calls)
        return [_OUTCOMES[int(reply)] for reply in replies]

    def _append_call(self, entry: Append) -> Script:
        keys = self._of(entry.job_id)
        last = entry.events[-1]
        args: list[Any] = [
            entry.job_id,
            entry.epoch,
            "" if entry.first_token_at is None else repr(entry.first_token_at),
            "" if entry.ended_at is None else repr(entry.ended_at),
            last.name if last.terminal else "",
            self._log_ttl,
            self._record_ttl,
        ]
        for event in entry.events:
            args += (event.seq, event.name, event.data)
        return (
            scripts.APPEND,
            [keys.job(entry.job_id), keys.log(entry.job_id), keys.relays],
            args,
        )

    async def read(self, job_id: str, after: int, max_bytes: int) -> list[Event]:
        """Pages through the stream."""
        key = self._of(job_id).log(job_id)
        events: list[Event] = []
        while max_bytes > 0:
            count = min(_READ_COUNT, max_bytes // _ENTRY_MIN + 1)
            async with translated():
                entries = await self._redis.xrange(key, f"({after}-0", "+", count)
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

    async def state(self, job_id: str) -> JobState | None:
        """The hash, decoded, and whether the stream is still there."""
        keys = self._keys.of_job(job_id)
        if keys is None:
            return None
        async with translated(), self._redis.pipeline(transaction=False) as pipe:
            pipe.hgetall(keys.job(job_id))
            pipe.exists(keys.log(job_id))
            pipe.zscore(keys.relays, job_id)
            record, has_log, leased = await pipe.execute()
        if not record:
            return None
        state = _state_of(record)
        state.log_expired = state.end_name is not None and not has_log
        state.relayed = leased is not None
        return state

    async def claim(self, key: str, claim: Claim, stale_before: float) -> Claim:
        """SET NX, and a compare-and-set for an abandoned one; see EventLog."""
        name = self._keys.of_claim(key).claim(key)
        async with translated():
            raw = await self._redis.set(
                name, msgspec.json.encode(claim), nx=True, get=True, ex=self._claim_ttl
            )
        if raw is None:
            return claim
        standing = _CLAIM.decode(raw)
        if standing.at >= stale_before or standing.body_hash != claim.body_hash:
            return standing
        if await self.state(standing.job_id) is not None:
            return standing
        taken = msgspec.structs.replace(claim, job_id=standing.job_id)
        replaced = await self._scripts.run(
            scripts.RECLAIM, [name], [raw, msgspec.json.encode(taken), self._claim_ttl]
        )
        return taken if replaced else standing

    async def unclaim(self, key: str, job_id: str) -> None:
        """Deletes the claim if it is still for `job_id`."""
        name = self._keys.of_claim(key).claim(key)
        async with translated():
            raw = await self._redis.get(name)
        if raw is not None and _CLAIM.decode(raw).job_id == job_id:
            await self._scripts.run(scripts.UNCLAIM, [name], [raw])

    async def request_cancel(self, job_id: str, reason: str) -> None:
        """Notes it in the record and tells whoever relays jobs of this home."""
        keys = self._of(job_id)
        await self._scripts.run(
            scripts.CANCEL, [keys.job(job_id), keys.control], [job_id, reason, self._record_ttl]
        )

    async def cancelled(self, job_id: str) -> bool:
        """Has anybody asked for the job to end?"""
        async with translated():
            return bool(await self._redis.hexists(self._of(job_id).job(job_id), "cancel"))

    async def renew(self, job_ids: list[str]) -> None:
        """Renews the leases of running relays, one script per home."""
        by_home: dict[Keys, list[str]] = {}
        for job_id in job_ids:
            by_home.setdefault(self._of(job_id), []).append(job_id)
        await self._scripts.run_all(
            [
                (scripts.RENEW, [keys.relays], [self._lease_ms, *ids])
                for keys, ids in by_home.items()
            ]
        )

    async def release(self, job_id: str, epoch: int) -> None:
        """Gives a lease up at once, so that another broker takes the job over."""
        keys = self._of(job_id)
        await self._scripts.run(scripts.RELEASE, [keys.job(job_id), keys.relays], [job_id, epoch])

    async def orphans(self, tag: str, margin: float, most: int = 16) -> list[str]:
        """Jobs under `tag` whose relay has not renewed for its lease and `margin` seconds."""
        reply = await self._scripts.run(
            scripts.ORPHANS, [Keys(tag).relays], [int(margin * 1000), most]
        )
        return [raw.decode() for raw in reply]

    async def acquire(self, job_id: str, margin: float) -> Orphan | None:
        """Takes an orphan over under the next epoch; None when somebody else did."""
        keys = self._of(job_id)
        epoch = await self._scripts.run(
            scripts.ACQUIRE,
            [keys.job(job_id), keys.relays],
            [job_id, int(margin * 1000), self._lease_ms],
        )
        if not epoch:
            return None
        async with translated():
            record = await self._redis.hgetall(keys.job(job_id))
        return Orphan(_state_of(record), int(epoch), b"cancel" in record) if record else None

    async def mark_seen(self, spans: dict[str, float]) -> None:
        """Says of each job, for so many seconds, that it has viewers on this broker."""
        async with translated(), self._redis.pipeline(transaction=False) as pipe:
            for job_id, seconds in spans.items():
                pipe.set(self._of(job_id).seen(job_id), 1, px=int(seconds * 1000))
            await pipe.execute()

    async def seen_for(self, job_id: str) -> float:
        """For how many seconds a broker's word holds that the job has viewers; 0: for none."""
        async with translated():
            left = await self._redis.pttl(self._of(job_id).seen(job_id))
        return max(0.0, float(left) / 1000)

    async def ping(self) -> None:
        """Returns when the store answers. Raises LogUnavailable."""
        async with translated():
            await self._redis.ping()

    def _of(self, job_id: str) -> Keys:
        keys = self._keys.of_job(job_id)
        if keys is None:
            raise LogUnavailable(f"no home for {job_id}")
        return keys

    def _running_ttl(self, head: JobHead) -> int:
        return int(head.grant.limits.deadline_s) + self._record_ttl


def event_of(entry_id: bytes, fields: dict[bytes, bytes]) -> Event:
    """The event that a stream entry holds."""
    return Event(int(entry_id.partition(b"-")[0]), fields[b"n"].decode(), fields[b"d"])


def _state_of(record: dict[bytes, bytes]) -> JobState:
    end = record.get(b"end")
    return JobState(
        head=_HEAD.decode(record[b"head"]),
        last_seq=int(record[b"last_seq"]),
        first_token_at=_time(record.get(b"first_token_at")),
        ended_at=_time(record.get(b"ended_at")),
        end_name=record[b"end_name"].decode() if b"end_name" in record else None,
        end=msgspec.json.decode(end) if end else None,
    )


def _time(raw: bytes | None) -> float | None:
    return float(raw) if raw else None
