"""The log's one seam, in words both its forms keep.

Errors:

    LogError
    ├── LogUnavailable       the store does not answer now; ask again
    │   └── Unacknowledged   it has the write, but its replicas have not said so
    └── Fenced               another relay owns the job; stop
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import msgspec

from inventory.model import Durability
from stream_broker.events import Event
from stream_broker.record import JobHead, JobState


class LogError(Exception):
    """Root of what a log may raise."""


class LogUnavailable(LogError):
    """The store does not answer, or answers that it cannot write."""


class Unacknowledged(LogUnavailable):
    """The write is in the store, and may be lost with it: too few replicas answer."""


class Fenced(LogError):
    """Another relay has taken the job over; nothing of this one may be written any more."""


class Append(msgspec.Struct, gc=False, eq=False):
    """Events of one job to be written by the relay that holds `epoch`. Never empty."""

    job_id: str
    epoch: int
    events: list[Event]
    first_token_at: float | None
    ended_at: float | None


Outcome = Literal["stored", "fenced", "missing"]


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """An Idempotency-Key's claim, made or taken up by request `by` at Unix time `at`."""

    job_id: str
    body_hash: str
    at: float
    by: str


@dataclass(frozen=True, slots=True)
class Orphan:
    """A job whose relay has stopped renewing, now owned under `epoch`.

    `lapsed`: seconds for which its lease had ended; 0 when it was given up.
    """

    state: JobState
    epoch: int
    cancelled: bool
    lapsed: float = 0.0


class EventLog(Protocol):
    """Where jobs and their events live. All calls may raise LogUnavailable.

    Writes may be repeated: an append that is already there is `stored` again.
    """

    durability: Durability

    async def create(self, head: JobHead) -> int:
        """Makes the job's record, leased to this process. Returns the epoch (1)."""

    async def append(self, batch: list[Append]) -> list[Outcome]:
        """Writes a batch in one round trip; durable when it returns."""

    async def read(self, job_id: str, after: int, max_bytes: int) -> list[Event]:
        """Durable events after `after`, about `max_bytes` of them."""

    async def state(self, job_id: str) -> JobState | None:
        """The job's record, or None when there is none."""

    async def note_engine(self, job_id: str, epoch: int, engine: int) -> None:
        """Says which engine of the grant serves the job now; an old `epoch` says nothing."""

    async def claim(self, key: str, claim: Claim, stale_before: float) -> Claim:
        """Claims `key` for `claim`, or returns the claim that stands.

        A standing claim older than `stale_before` whose job has no record is renewed
        under its own job id, if the body is the same.
        """

    async def unclaim(self, key: str, job_id: str) -> None:
        """Gives a claim back, if it is still for `job_id`."""

    async def request_cancel(self, job_id: str, reason: str) -> None:
        """Notes that the job shall end, and tells whoever relays it."""
