"""Where a job's time went, as spans of OpenTelemetry: a handful for each job, none for a token.

    ingress ─ job ─┬─ grant       the control plane's decision
                   ├─ generation  the engine, with an event for the first token
                   └─ (what the engine itself tells, under `generation`)

Off until the setting `otlp_endpoint` names a collector. A span's ids are made before it
begins, so that all of them can be told once, when the job has ended, by whoever ended it.
Ids and header by W3C Trace Context; names of attributes by OpenTelemetry's conventions for
generative AI where there are any.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Final, Literal

import msgspec

Kind = Literal["server", "client"]
_HEADER: Final = re.compile(rb"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")
_NOBODY: Final = ("0" * 32, "0" * 16)


class Trace(msgspec.Struct, frozen=True, omit_defaults=True):
    """A job's place in its trace: its span, and whose child that is. `asked_at`: Unix seconds
    at which the ingress had the request, if it said so; `begun_at`: with its grant."""

    trace_id: str
    span_id: str
    parent_id: str | None = None
    asked_at: float | None = None
    begun_at: float | None = None

    def header(self, child: str) -> str:
        """`traceparent` for whoever works for this job, as a child of the span called so."""
        return f"00-{self.trace_id}-{self.id_of(child)}-01"

    def id_of(self, child: str) -> str:
        """The id of the job's own span (`job`), or of one beside it: the same everywhere."""
        if child == "job":
            return self.span_id
        return hashlib.sha256(f"{self.span_id}{child}".encode()).hexdigest()[:16]


class Span(msgspec.Struct, frozen=True, kw_only=True):
    """One that has ended. Times in Unix seconds; `events` are moments within it; `error` says
    that it failed, and how."""

    name: str
    trace_id: str
    span_id: str
    parent_id: str | None
    kind: Kind
    start: float
    end: float
    attributes: Mapping[str, str | int | float | bool]
    events: Mapping[str, float] = {}
    error: str | None = None


class Asked(msgspec.Struct, frozen=True):
    """What a request came with. `sampled` is the caller's wish; without a caller's trace
    there is none."""

    trace_id: str | None = None
    parent_id: str | None = None
    sampled: bool = True
    at: float | None = None


# Of the request that this task answers.
ASKED: Final[ContextVar[Asked]] = ContextVar("okome_asked", default=Asked())  # noqa: B039  # frozen


def asked_of(traceparent: bytes, started_us: bytes) -> Asked:
    """Out of the headers `traceparent` and the ingress' X-Request-Start (Unix microseconds);
    what is not well formed is as if it were not there."""
    at = int(started_us) / 1e6 if started_us.isdigit() and len(started_us) == 16 else None
    match = _HEADER.fullmatch(traceparent)
    if match is None:
        return Asked(at=at)
    trace_id, parent_id = match[1].decode(), match[2].decode()
    if trace_id == _NOBODY[0] or parent_id == _NOBODY[1]:
        return Asked(at=at)
    return Asked(trace_id, parent_id, bool(int(match[3], 16) & 1), at)


def begin(asked: Asked, entropy: bytes, share: float) -> Trace | None:
    """A place for a new job in its caller's trace, or in a new one, of which this `share` (0 to
    1) is told at all. None: nothing is to be told. `entropy`: 24 random bytes."""
    if asked.trace_id is not None and not asked.sampled:
        return None
    if asked.trace_id is None and int.from_bytes(entropy[:4]) >= share * (1 << 32):
        return None
    return Trace(
        trace_id=asked.trace_id or entropy[:16].hex(),
        span_id=entropy[16:24].hex(),
        parent_id=asked.parent_id,
        asked_at=asked.at,
    )
