"""A job's record: what is known of it besides its log."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from contracts.grants import Grant, JobKind
from inventory.model import Durability
from observability.traces import Trace

Status = Literal["queued", "running", "completed", "failed", "cancelled"]

STATUS_OF_TERMINAL: dict[str, Status] = {
    "job_complete": "completed",
    "job_error": "failed",
    "job_cancelled": "cancelled",
}


class JobHead(msgspec.Struct, frozen=True, kw_only=True):
    """What is fixed when a job is accepted. Times in Unix seconds.

    `call` is the engine call without its target, enough for another broker to go on;
    `include_usage` is what an OpenAI client asked for.
    """

    job_id: str
    user_id: str
    kind: JobKind
    model: str
    created_at: float
    durability: Durability
    grant: Grant
    call: dict[str, Any]
    prompt_estimate: int
    include_usage: bool = False
    session_id: str | None = None
    conversation_id: str | None = None
    metadata: dict[str, Any] | None = None
    trace: Trace | None = None


class JobState(msgspec.Struct, kw_only=True):
    """A record as it stands: the head, how far the durable log goes, and how it ended.

    `engine` is the number of the grant's engine that served last; `reach`, where it is
    greater than `last_seq`, is how far the log goes beyond what is known to be durable;
    `end` is the data of the terminal event; `log_expired` says that only this is left.
    """

    head: JobHead
    engine: int = 0
    last_seq: int = 0
    reach: int = 0
    first_token_at: float | None = None
    ended_at: float | None = None
    end_name: str | None = None
    end: dict[str, Any] | None = None
    log_expired: bool = False
    relayed: bool = True

    @property
    def status(self) -> Status:
        """The job's state by the contract's names: queued until its engine says something."""
        if self.end_name:
            return STATUS_OF_TERMINAL[self.end_name]
        return "queued" if self.first_token_at is None else "running"

    def public(self, text: str | None) -> dict[str, Any]:
        """The answer of `GET /v1/jobs/{id}`."""
        end = self.end or {}
        error = None
        if self.end_name == "job_error":
            error = {key: end[key] for key in ("code", "message", "retryable")}
        elif self.end_name == "job_cancelled":
            error = {"code": "cancelled", "message": f"cancelled: {end['reason']}"}
        return {
            "job_id": self.head.job_id,
            "status": self.status,
            "model": self.head.model,
            "engine": self.head.grant.targets[self.engine].kind,
            "created_at": self.head.created_at,
            "first_token_at": self.first_token_at,
            "ended_at": self.ended_at,
            "last_seq": self.last_seq,
            "usage": end.get("usage"),
            "finish_reason": end.get("finish_reason"),
            "text": text,
            "error": error,
            "session_id": self.head.session_id,
            "metadata": self.head.metadata,
        }
