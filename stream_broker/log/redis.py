"""The log in Redis: one stream and one hash per job, all steps as scripts.

Entries carry explicit ids `SEQ-0`, so the number of an event is fixed by the log
itself; a relay whose epoch is old is refused (`log/scripts.py`). Where the keys live, and
how many replicas must have a write before it counts, is the stores' part: one Redis
(`local`) or a Redis Cluster (`replicated`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import msgspec

from stream_broker.batching import Batches
from stream_broker.events import Event
from stream_broker.log import scripts
from stream_broker.log.appending import AppendEncoder
from stream_broker.log.base import Append, Claim, LogUnavailable, Orphan, Outcome
from stream_broker.log.keys import Keys, KeySpace
from stream_broker.log.lane import Lane
from stream_broker.log.reading import Reader, state_of
from stream_broker.log.store import Script, Scripts
from stream_broker.log.stores import Stores
from stream_broker.record import JobHead, JobState

# Records made in one pipeline: a few KiB each, for the engine call is in it.
_CREATES_MAX = 32
# Leases that one script renews: it holds up all others for a millisecond.
_RENEWS_MAX = 512
_CLAIM = msgspec.json.Decoder(Claim)


class RedisLog:
    """An EventLog in Redis. Lifetimes in seconds; `lease` is a relay's TTL."""

    def __init__(
        self,
        stores: Stores,
        keys: KeySpace,
        *,
        log_ttl: float,
        record_ttl: float,
        claim_ttl: float,
        lease: float,
    ) -> None:
        self.durability = stores.durability
        self._stores = stores
        self._keys = keys
        self._encoder = AppendEncoder(keys, int(log_ttl), int(record_ttl))
        self._reader = Reader(stores)
        self._creates: dict[str, Batches[Script, Any]] = {}
        self._lanes: dict[str, Lane] = {}
        self._lane_of: dict[str, Lane] = {}
        self._record_ttl = int(record_ttl)
        self._claim_ttl = int(claim_ttl)
        self._lease_ms = int(lease * 1000)

    async def create(self, head: JobHead) -> int:
        """Makes the record and its lease; the same again if it is there already."""
        keys = self._of(head.job_id)
        args = [head.job_id, msgspec.json.encode(head), self._lease_ms, self._running_ttl(head)]
        names = [keys.job(head.job_id), keys.relays]
        creates = self._creates.get(keys.tag)
        if creates is None:
            creates = Batches(partial(self._create_each, keys.tag), _CREATES_MAX)
            self._creates[keys.tag] = creates
        return int(await creates.ask((scripts.CREATE, names, args)))

    async def _create_each(self, tag: str, calls: list[Script]) -> list[Any]:
        """Records of one home, made in one pipeline and acknowledged in one go."""
        acks = self._stores.acks
        return await self._stores.ask(tag, lambda redis: Scripts(redis).run_all(calls, acks))

    def lane(self, job_id: str) -> str:
        """Appends of jobs with the same lane go out in one flush."""
        return self._stores.lane(self._of(job_id).tag)

    async def discard(self, job_id: str) -> bool:
        """Takes back a record that nobody has begun to run, if there is one. Returns whether
        nobody has."""
        keys = self._of(job_id)
        names = [keys.job(job_id), keys.relays]
        return bool(await self._run(keys, scripts.DISCARD, names, [job_id]))

    async def append(self, batch: list[Append]) -> list[Outcome]:
        """One pipeline and one acknowledgement for each lane of the batch."""
        lanes = [self._lane(entry.job_id) for entry in batch]
        if lanes.count(lanes[0]) == len(lanes):
            return await lanes[0].append(batch)
        found: dict[Lane, list[Outcome]] = {}
        for lane in dict.fromkeys(lanes):
            own = [entry for entry, its in zip(batch, lanes, strict=True) if its is lane]
            found[lane] = await lane.append(own)
        return [found[lane].pop(0) for lane in lanes]

    def _lane(self, job_id: str) -> Lane:
        home = job_id.partition("-")[0]
        lane = self._lane_of.get(home)
        if lane is None:
            tag = self._of(job_id).tag
            name = self._stores.lane(tag)
            lane = self._lanes.setdefault(name, Lane(self._stores, tag, self._encoder))
            self._lane_of[home] = lane
        return lane

    async def read(self, job_id: str, after: int, max_bytes: int) -> list[Event]:
        """Pages through the stream, and no further than it is durable."""
        return await self._reader.read(self._of(job_id), job_id, after, max_bytes)

    async def state(self, job_id: str) -> JobState | None:
        """The hash, decoded, and whether the stream is still there; as far as it is durable."""
        keys = self._keys.of_job(job_id)
        return None if keys is None else await self._reader.state(keys, job_id)

    async def note_engine(self, job_id: str, epoch: int, engine: int) -> None:
        """A member of the record."""
        keys = self._of(job_id)
        await self._run(keys, scripts.NOTE_ENGINE, [keys.job(job_id)], [epoch, engine])

    async def claim(self, key: str, claim: Claim, stale_before: float) -> Claim:
        """SET NX, and a compare-and-set for an abandoned one; see EventLog."""
        keys = self._keys.of_claim(key)
        name = keys.claim(key)
        raw = await self._run(
            keys,
            scripts.CLAIM,
            [name],
            [msgspec.json.encode(claim), self._claim_ttl],
            durable=True,
        )
        standing = _CLAIM.decode(raw)
        if standing == claim or standing.at >= stale_before:
            return standing
        if standing.body_hash != claim.body_hash:
            return standing
        if await self.state(standing.job_id) is not None:
            return standing
        taken = msgspec.structs.replace(claim, job_id=standing.job_id)
        args = [raw, msgspec.json.encode(taken), self._claim_ttl]
        replaced = await self._run(keys, scripts.RECLAIM, [name], args, durable=True)
        return taken if replaced else standing

    async def unclaim(self, key: str, job_id: str) -> None:
        """Deletes the claim if it is still for `job_id`."""
        keys = self._keys.of_claim(key)
        name = keys.claim(key)
        raw = await self._stores.ask(keys.tag, lambda redis: redis.get(name))
        if raw is not None and _CLAIM.decode(raw).job_id == job_id:
            await self._run(keys, scripts.UNCLAIM, [name], [raw])

    async def request_cancel(self, job_id: str, reason: str) -> None:
        """Notes it in the record and tells whoever relays jobs of this home."""
        keys = self._of(job_id)
        names = [keys.job(job_id), keys.control]
        await self._run(keys, scripts.CANCEL, names, [job_id, reason, self._record_ttl])

    async def cancelled(self, job_id: str) -> bool:
        """Has anybody asked for the job to end?"""
        keys = self._of(job_id)
        name = keys.job(job_id)
        return bool(await self._stores.ask(keys.tag, lambda redis: redis.hexists(name, "cancel")))

    async def renew(self, relays: Mapping[str, int]) -> set[str]:
        """Renews the leases of running relays, jobs to epochs, all homes at once. Returns
        those that another relay has by now: these are not renewed.

        Within a third of a lease: a home that does not answer must not cost the others
        theirs. Raises LogUnavailable when any home was not asked with success.
        """
        others: set[str] = set()

        async def renew(keys: Keys, ids: list[str]) -> None:
            async with asyncio.timeout(self._lease_ms / 3000):
                for at in range(0, len(ids), _RENEWS_MAX):
                    some = ids[at : at + _RENEWS_MAX]
                    names = [keys.relays, *map(keys.job, some)]
                    args = [word for job_id in some for word in (job_id, relays[job_id])]
                    said = await self._run(keys, scripts.RENEW, names, [self._lease_ms, *args])
                    others.update(raw.decode() for raw in said)

        await _all(renew(keys, ids) for keys, ids in self._by_home(relays))
        return others

    async def settled(self, job_ids: list[str]) -> None:
        """Says of jobs that have ended that nobody need settle them any more.

        Bounded as `renew` is. Raises LogUnavailable when any home was not asked with success.
        """

        async def forget(keys: Keys, ids: list[str]) -> None:
            async with asyncio.timeout(self._lease_ms / 3000):
                await self._stores.ask(keys.tag, lambda redis: redis.zrem(keys.relays, *ids))

        await _all(forget(keys, ids) for keys, ids in self._by_home(job_ids))

    async def release(self, job_id: str, epoch: int) -> None:
        """Gives a lease up at once, so that another broker takes the job over."""
        keys = self._of(job_id)
        names = [keys.job(job_id), keys.relays]
        await self._run(keys, scripts.RELEASE, names, [job_id, epoch])

    async def orphans(self, tag: str, margin: float, most: int = 16) -> list[str]:
        """Jobs under `tag` whose relay has not renewed for its lease and `margin` seconds."""
        keys = Keys(tag)
        reply = await self._run(keys, scripts.ORPHANS, [keys.relays], [int(margin * 1000), most])
        return [raw.decode() for raw in reply]

    async def acquire(self, job_id: str, margin: float) -> Orphan | None:
        """Takes an orphan over under the next epoch; None when somebody else did. One that
        has ended is only to be settled.

        Counts only once acknowledged, and with it all that the former relay has written.
        """
        keys = self._of(job_id)
        name = keys.job(job_id)
        epoch = await self._run(
            keys,
            scripts.ACQUIRE,
            [name, keys.relays],
            [job_id, int(margin * 1000), self._lease_ms],
            durable=True,
        )
        if not epoch:
            return None
        record = await self._stores.ask(keys.tag, lambda redis: redis.hgetall(name))
        if not record:
            return None
        lapsed = float(record.get(b"lapsed", 0)) / 1000
        return Orphan(state_of(record), int(epoch), b"cancel" in record, lapsed)

    async def mark_seen(self, spans: dict[str, float]) -> None:
        """Says of each job, for so many seconds, that it has viewers on this broker."""

        async def mark(keys: Keys, ids: list[str]) -> None:
            async def call(redis: Any) -> None:
                async with redis.pipeline(transaction=False) as pipe:
                    for job_id in ids:
                        pipe.set(keys.seen(job_id), 1, px=int(spans[job_id] * 1000))
                    await pipe.execute()

            await self._stores.ask(keys.tag, call)

        await _all(mark(keys, ids) for keys, ids in self._by_home(list(spans)))

    async def seen_for(self, job_id: str) -> float:
        """For how many seconds a broker's word holds that the job has viewers; 0: for none."""
        keys = self._of(job_id)
        name = keys.seen(job_id)
        left = await self._stores.ask(keys.tag, lambda redis: redis.pttl(name))
        return max(0.0, float(left) / 1000)

    def close(self) -> None:
        """Ends the connections of the appends, and what is being created."""
        for creates in self._creates.values():
            creates.close()
        for lane in self._lanes.values():
            lane.close()

    async def _run(
        self,
        keys: Keys,
        source: str,
        names: Sequence[str],
        args: Sequence[Any],
        *,
        durable: bool = False,
    ) -> Any:
        """One script; with `durable` it counts only once it is acknowledged like a token."""
        calls: list[Script] = [(source, names, args)]
        acks = self._stores.acks if durable else 0
        (reply,) = await self._stores.ask(
            keys.tag, lambda redis: Scripts(redis).run_all(calls, acks)
        )
        return reply

    def _by_home(self, job_ids: Iterable[str]) -> list[tuple[Keys, list[str]]]:
        by_home: dict[Keys, list[str]] = {}
        for job_id in job_ids:
            by_home.setdefault(self._of(job_id), []).append(job_id)
        return list(by_home.items())

    def _of(self, job_id: str) -> Keys:
        keys = self._keys.of_job(job_id)
        if keys is None:
            raise LogUnavailable(f"no home for {job_id}")
        return keys

    def _running_ttl(self, head: JobHead) -> int:
        return int(head.grant.limits.deadline_s) + self._record_ttl


async def _all(calls: Iterable[Awaitable[None]]) -> None:
    """Makes all calls at once and waits for all. Raises LogUnavailable when any did."""
    for result in await asyncio.gather(*calls, return_exceptions=True):
        if isinstance(result, TimeoutError):
            raise LogUnavailable("no answer in time") from result
        if isinstance(result, BaseException):
            raise result
