"""A job as spans, once it has ended. Pure."""

from __future__ import annotations

from typing import Any

from observability.traces import Span, Trace
from stream_broker.events import Event
from stream_broker.record import JobHead

# OpenTelemetry's words for who generates.
_PROVIDERS = {"vllm": "vllm", "ollama": "ollama", "tf_serving": "tensorflow_serving"}


def spans_of(
    head: JobHead, terminal: Event, *, node: str, engine: int, first_token_at: float | None,
    ended_at: float,
) -> list[Span]:  # fmt: skip
    """The ingress' part, the job, and the generation. None where the job is not traced."""
    trace = head.trace
    if trace is None:
        return []
    body = terminal.body()
    failed = body.get("code") if terminal.name == "job_error" else None
    job = _span(trace, "job", head.created_at, ended_at, error=failed) | {
        "kind": "server",
        "parent_id": trace.id_of("ingress") if trace.asked_at else trace.parent_id,
        "attributes": {"okome.job_id": head.job_id, "okome.node": node, "okome.kind": head.kind,
                       "okome.end": terminal.name},
    }  # fmt: skip
    generation = _span(trace, "generation", trace.begun_at or head.created_at, ended_at) | {
        "error": failed,
        "attributes": _generation(head, body, engine),
        "events": {} if first_token_at is None else {"first_token": first_token_at},
    }
    found = [Span(**job), Span(**generation)]
    if trace.asked_at:
        at = min(trace.asked_at, head.created_at)
        ingress = _span(trace, "ingress", at, head.created_at)
        found.append(Span(**ingress | {"kind": "server", "parent_id": trace.parent_id}))
    return found


def _span(
    trace: Trace, name: str, start: float, end: float, error: str | None = None
) -> dict[str, Any]:
    return {
        "name": name,
        "trace_id": trace.trace_id,
        "span_id": trace.id_of(name),
        "parent_id": trace.span_id,
        "kind": "client",
        "start": start,
        "end": max(start, end),
        "attributes": {},
        "error": error,
    }


def _generation(head: JobHead, body: dict[str, Any], engine: int) -> dict[str, Any]:
    target, usage = head.grant.targets[engine], body.get("usage") or {}
    found = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": _PROVIDERS[target.kind],
        "gen_ai.request.model": head.model,
        "gen_ai.response.model": target.model,
        "gen_ai.request.max_tokens": head.grant.limits.max_tokens,
        "gen_ai.usage.input_tokens": usage.get("prompt_tokens"),
        "gen_ai.usage.output_tokens": usage.get("completion_tokens"),
        "gen_ai.response.finish_reasons": body.get("finish_reason"),
        "server.address": target.base_url,
    }
    return {name: value for name, value in found.items() if value is not None}
