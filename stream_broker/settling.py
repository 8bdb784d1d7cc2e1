"""What a broker reports when a job has ended. Pure."""

from __future__ import annotations

import msgspec

from contracts.grants import Outcome, Settlement, Usage
from stream_broker.events import Event
from stream_broker.record import JobHead

_OUTCOMES: dict[str, Outcome] = {
    "job_complete": "completed",
    "job_error": "failed",
    "job_cancelled": "cancelled",
}


# A settlement travels in one request body, and waits in the spool while .25 is away.
FINAL_TEXT_MAX = 128 << 10


def settlement_of(
    head: JobHead,
    terminal: Event,
    *,
    engine: str,
    node: str,
    first_token_at: float | None,
    ended_at: float,
    final_text: str | None = None,
) -> Settlement:
    """The settlement for a job that ended with `terminal`. Times in Unix seconds."""
    body = terminal.body()
    return Settlement(
        job_id=head.job_id,
        grant_id=head.grant.grant_id,
        lease_id=head.grant.lease.id,
        user_id=head.user_id,
        model=head.model,
        engine=engine,
        node=node,
        outcome=_OUTCOMES[terminal.name],
        code=body.get("code") or body.get("reason") or body.get("finish_reason"),
        usage=msgspec.convert(body["usage"], Usage),
        created_at=head.created_at,
        first_token_at=first_token_at,
        ended_at=ended_at,
        session_id=head.session_id,
        final_text=final_text,
    )


def bounded_text(text: str) -> str:
    """The beginning of a text that takes FINAL_TEXT_MAX bytes at most, in whole characters."""
    raw = text.encode()
    if len(raw) <= FINAL_TEXT_MAX:
        return text
    return raw[:FINAL_TEXT_MAX].decode(errors="ignore")
