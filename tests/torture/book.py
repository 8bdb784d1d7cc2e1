"""Everything that any client was ever shown, and whatever does not fit together. Pure."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

TERMINAL = frozenset({"job_complete", "job_error", "job_cancelled"})
_KEPT = 40

# What a job may end with when the engine was killed under it (CONTRACT, "Codes").
ENGINE_ERRORS = frozenset(
    {"engine_truncated", "engine_unreachable", "engine_error", "engine_stalled"}
)


@dataclass(eq=False)
class Job:
    """One job as its readers know it. Times are of the harness's own clock."""

    job_id: str
    kind: str
    tokens: int
    begun: float
    events: dict[int, tuple[str, bytes]] = field(default_factory=dict)
    chunks: dict[int, bytes] = field(default_factory=dict)
    ends: set[int] = field(default_factory=set)
    only_at_home: bool = False

    @property
    def last(self) -> int:
        """The greatest number that anybody was shown."""
        return max(self.events, default=0)

    @property
    def end(self) -> dict[str, Any] | None:
        """The data of the terminal event, with its name; None while it runs."""
        if not self.ends:
            return None
        name, data = self.events[min(self.ends)]
        end: dict[str, Any] = {"event": name} | json.loads(data)
        return end

    def text(self) -> str:
        """The answer, as its tokens have it."""
        said = [data for _, (name, data) in sorted(self.events.items()) if name == "token"]
        return "".join(json.loads(data)["token"] for data in said)


class Book:
    """All jobs, all violations, all counts."""

    def __init__(self) -> None:
        self.jobs: dict[str, Job] = {}
        self.counts: Counter[str] = Counter()
        self.faults: Counter[str] = Counter()
        self.told: list[str] = []
        self.engine_deaths: list[float] = []

    def violation(self, kind: str, text: str) -> None:
        """Something that must never be."""
        self.faults[kind] += 1
        if len(self.told) < _KEPT:
            self.told.append(f"{kind}: {text}")

    def begin(self, job_id: str, kind: str, tokens: int, now: float) -> Job:
        """A job that was accepted; the same one for a repeated key."""
        job = self.jobs.get(job_id)
        if job is None:
            job = self.jobs[job_id] = Job(job_id, kind, tokens, now)
            self.counts["jobs"] += 1
        return job

    def native(self, job: Job, cursor: int, seq: int, name: str, data: bytes, who: str) -> bool:
        """A client at `cursor` was shown event `seq`. Returns whether it is the next one."""
        self.counts["events"] += 1
        if not self._follows(job, cursor, seq, who):
            return False
        known = job.events.setdefault(seq, (name, data))
        if known != (name, data):
            self.violation("changed", f"{who}: {job.job_id} {seq}: {known} then {(name, data)}")
        if name in TERMINAL:
            job.ends.add(seq)
            if len(job.ends) > 1:
                self.violation("two_ends", f"{who}: {job.job_id}: {sorted(job.ends)}")
        if name == "notice":
            job.only_at_home |= json.loads(data)["code"] == "not_resumable"
        if job.ends and seq > max(job.ends):
            self.violation("after_the_end", f"{who}: {job.job_id} {seq}")
        return True

    def chunk(self, job: Job, cursor: int, seq: int, data: bytes, who: str) -> bool:
        """The same for the OpenAI shape, whose ids may jump; `data` has no id of its own."""
        self.counts["events"] += 1
        if seq <= cursor:
            self.violation("repeated", f"{who}: {job.job_id}: {seq} after {cursor}")
            return False
        if job.chunks.setdefault(seq, data) != data:
            self.violation("changed", f"{who}: {job.job_id} chunk {seq}")
        skipped = [n for n in range(cursor + 1, seq) if n in job.chunks]
        if skipped:
            self.violation("lost", f"{who}: {job.job_id}: {skipped} between {cursor} and {seq}")
        return True

    def _follows(self, job: Job, cursor: int, seq: int, who: str) -> bool:
        if seq == cursor + 1:
            return True
        kind = "repeated" if seq <= cursor else "lost"
        self.violation(kind, f"{who}: {job.job_id}: {seq} after {cursor}")
        return False

    def close(self, words_of: Callable[[int], str] | None) -> None:
        """At the end of all: every job whole, ended once, and saying what it should."""
        for job in self.jobs.values():
            self._close(job, words_of)

    def _close(self, job: Job, words_of: Callable[[int], str] | None) -> None:
        end = job.end
        for name, data in job.events.values():
            if name == "notice":
                self.counts[f"notice {json.loads(data)['code']}"] += 1
        if job.only_at_home:
            self.counts["jobs that lived at home only"] += 1
            return
        if end is None:
            self.violation("no_end", f"{job.job_id} ({job.kind}): nothing after {job.last}")
            return
        self.counts[f"end {end['event']} {end.get('code', end.get('finish_reason', ''))}"] += 1
        missing = sorted(set(range(1, job.last + 1)) - set(job.events))
        if missing:
            self.violation("lost", f"{job.job_id}: never shown: {missing[:5]} of {job.last}")
        self._check_end(job, end, words_of)

    def _check_end(
        self, job: Job, end: dict[str, Any], words_of: Callable[[int], str] | None
    ) -> None:
        if end["event"] == "job_error":
            died = any(job.begun - 5 <= at for at in self.engine_deaths)
            if not (end["code"] in ENGINE_ERRORS and end["retryable"] and died):
                self.violation("job_error", f"{job.job_id}: {end}")
        elif end["event"] == "job_cancelled":
            self.violation("cancelled", f"{job.job_id}: {end}")
        if words_of is None:
            return
        text = job.text()
        count = text.count(" ")
        if text != words_of(count):
            self.violation("text", f"{job.job_id}: {text[:60]!r} … {text[-60:]!r}")
        if end["event"] == "job_complete" and count != job.tokens:
            self.violation("text", f"{job.job_id}: {count} tokens of {job.tokens}")
