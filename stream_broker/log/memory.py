"""The log in this process's memory: durability `none`.

It outlives nothing, so jobs in it are served by their home only. Bounded as a whole:
over `max_bytes` the logs of ended jobs go first, the oldest first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TypeVar

import msgspec

from inventory.model import Durability
from stream_broker.events import OVERHEAD, TERMINAL, Event
from stream_broker.log.base import Append, Claim, Outcome
from stream_broker.record import JobHead, JobState

_V = TypeVar("_V")

# Records and claims that outlive their logs are small; this bounds them all the same.
_RECORDS_MAX = 100_000
_EPOCH = 1


@dataclass(slots=True)
class Job:
    """A record and its events."""

    state: JobState
    events: list[Event] = field(default_factory=list)
    bytes: int = 0


class MemoryLog:
    """An EventLog in memory. `clock` gives Unix seconds; lifetimes are in seconds."""

    __slots__ = (
        "_bytes",
        "_claim_ttl",
        "_claims",
        "_clock",
        "_jobs",
        "_kept_logs",
        "_kept_records",
        "_log_ttl",
        "_max_bytes",
        "_record_ttl",
        "durability",
    )

    def __init__(
        self,
        clock: Callable[[], float],
        *,
        log_ttl: float,
        record_ttl: float,
        claim_ttl: float,
        max_bytes: int,
    ) -> None:
        self.durability: Durability = "none"
        self._clock = clock
        self._log_ttl = log_ttl
        self._record_ttl = record_ttl
        self._claim_ttl = claim_ttl
        self._max_bytes = max_bytes
        self._bytes = 0
        self._jobs: dict[str, Job] = {}
        self._kept_logs: dict[str, float] = {}
        self._kept_records: dict[str, float] = {}
        self._claims: dict[str, Claim] = {}

    async def create(self, head: JobHead) -> int:
        """Makes the record. Epochs do not move here: there is only one relay."""
        self.expire()
        self._jobs.setdefault(head.job_id, Job(JobState(head=head)))
        return _EPOCH

    async def append(self, batch: list[Append]) -> list[Outcome]:
        """Keeps the events."""
        return [self.put(entry) for entry in batch]

    def extend(self, job_id: str, events: list[Event]) -> Outcome | None:
        """The hot path of `put`: what simply follows and does not end its job. Else None."""
        job = self._jobs.get(job_id)
        if job is None or events[0].seq != job.state.last_seq + 1:
            return None
        if events[-1].name in TERMINAL:
            return None
        job.events += events
        added = 0
        for event in events:
            added += len(event.data) + OVERHEAD
        job.bytes += added
        self._bytes += added
        job.state.last_seq = events[-1].seq
        return "stored"

    def find(self, job_id: str) -> Job | None:
        """What is kept of a job, as long as it runs the same object."""
        return self._jobs.get(job_id)

    def put(self, entry: Append) -> Outcome:
        """Keeps the events of one job, now: there is nothing to wait for."""
        job = self._jobs.get(entry.job_id)
        if job is None:
            return "missing"
        if entry.epoch != _EPOCH:
            return "fenced"
        if entry.events[0].seq > job.state.last_seq + 1:
            return "missing"
        state = job.state
        added = 0
        for event in entry.events:
            if event.seq <= state.last_seq:
                continue
            job.events.append(event)
            added += len(event.data) + OVERHEAD
            state.last_seq = event.seq
        job.bytes += added
        self._bytes += added
        state.first_token_at = entry.first_token_at
        if entry.ended_at is not None and state.end_name is None:
            self._end(state, entry)
        return "stored"

    def _end(self, state: JobState, entry: Append) -> None:
        last = entry.events[-1]
        state.end_name, state.end = last.name, last.body()
        state.ended_at = entry.ended_at
        self._kept_logs[entry.job_id] = self._clock()

    async def read(self, job_id: str, after: int, max_bytes: int) -> list[Event]:
        """A slice of the events."""
        job = self._jobs.get(job_id)
        if job is None or job.state.log_expired:
            return []
        events: list[Event] = []
        # Never the whole rest of a log: a viewer that is far behind asks for it again and again.
        for at in range(after, len(job.events)):
            event = job.events[at]
            events.append(event)
            max_bytes -= event.size
            if max_bytes <= 0:
                break
        return events

    async def state(self, job_id: str) -> JobState | None:
        """The record, unless it has expired."""
        self.expire()
        job = self._jobs.get(job_id)
        return msgspec.structs.replace(job.state) if job else None

    async def note_engine(self, job_id: str, epoch: int, engine: int) -> None:  # noqa: ARG002
        """Notes it."""
        job = self._jobs.get(job_id)
        if job is not None:
            job.state.engine = engine

    async def claim(self, key: str, claim: Claim, stale_before: float) -> Claim:
        """First come, first served; see EventLog."""
        self.expire()
        standing = self._claims.get(key)
        if standing is None:
            self._claims[key] = claim
            return claim
        abandoned = standing.at < stale_before and standing.job_id not in self._jobs
        if abandoned and standing.body_hash == claim.body_hash:
            taken = msgspec.structs.replace(claim, job_id=standing.job_id)
            self._claims[key] = taken
            return taken
        return standing

    async def unclaim(self, key: str, job_id: str) -> None:
        """Forgets the claim."""
        standing = self._claims.get(key)
        if standing is not None and standing.job_id == job_id:
            del self._claims[key]

    async def request_cancel(self, job_id: str, reason: str) -> None:
        """Nothing to note: whoever could ask is in this process and asks the relay."""

    def expire(self) -> None:
        """Drops logs, records and claims that are past their time or over the bound."""
        now = self._clock()
        for job_id, ended in _oldest_first(self._kept_logs):
            if self._bytes <= self._max_bytes and ended + self._log_ttl > now:
                break
            self._drop_log(job_id)
            self._kept_records[job_id] = self._kept_logs.pop(job_id)
        for job_id, ended in _oldest_first(self._kept_records):
            if len(self._kept_records) <= _RECORDS_MAX and ended + self._record_ttl > now:
                break
            del self._jobs[job_id], self._kept_records[job_id]
        for key, claim in _oldest_first(self._claims):
            if len(self._claims) <= _RECORDS_MAX and claim.at + self._claim_ttl > now:
                break
            del self._claims[key]

    def _drop_log(self, job_id: str) -> None:
        job = self._jobs[job_id]
        self._bytes -= job.bytes
        job.events, job.bytes = [], 0
        job.state.log_expired = True


def _oldest_first(kept: dict[str, _V]) -> Iterator[tuple[str, _V]]:
    """The entries in order of insertion; the current one may be removed meanwhile."""
    while kept:
        key = next(iter(kept))
        yield key, kept[key]
        if key in kept:
            return
