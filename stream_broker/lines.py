"""What the log says of jobs and engines: figures and codes, never a text of anybody's. Pure."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from observability.logs import user_mark
from stream_broker.events import Event
from stream_broker.record import JobHead

_TOLD_MAX: Final = 200


class _Error(msgspec.Struct):
    type: str | None = None
    code: str | int | None = None


class _Refusal(msgspec.Struct):
    error: _Error


def begun(head: JobHead) -> dict[str, Any]:
    """Of a job that was accepted here."""
    return {
        "job_id": head.job_id,
        "user": user_mark(head.user_id),
        "grant_id": head.grant.grant_id,
        "kind": head.kind,
        "model": head.model,
        "engine": head.grant.engine.base_url,
        "durability": head.durability,
    }


def ended(job_id: str, terminal: Event) -> dict[str, Any]:
    """Of a job whose last event is in the log."""
    body = terminal.body()
    code = body.get("finish_reason") or body.get("code") or body.get("reason")
    usage, metrics = body.get("usage") or {}, body.get("metrics") or {}
    line = {"job_id": job_id, "event": terminal.name, "code": code}
    line |= {name: usage.get(name) for name in ("prompt_tokens", "completion_tokens")}
    return line | {name: metrics.get(name) for name in ("ttft_ms", "gap_p99_ms", "jitter_ms")}


def told(status: int, body: bytes) -> str:
    """Of an engine's refusal. What it says of a request that it finds wrong may quote that:
    of such an answer only the error's type and code."""
    if status >= 500:
        return repr(body[:_TOLD_MAX])
    try:
        error = msgspec.json.decode(body, type=_Refusal).error
    except (msgspec.DecodeError, UnicodeDecodeError):
        return f"{len(body)} bytes"
    return f"{error.type or 'an error'}, {error.code}"
