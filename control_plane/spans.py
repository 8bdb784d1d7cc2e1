"""Decisions as spans beside the jobs that they were for. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator

from contracts.grants import Grant, GrantRequest
from contracts.problems import ProblemError
from observability.traces import Span, asked_of


def grant_spans(
    questions: Iterable[GrantRequest],
    answers: Iterable[Grant | ProblemError],
    start: float,
    end: float,
) -> Iterator[Span]:
    """Of those that belong to a trace; those that came together took as long as all of them."""
    for question, answer in zip(questions, answers, strict=True):
        asked = asked_of((question.traceparent or "").encode(), b"")
        if asked.trace_id is None:
            continue
        refused = answer.code if isinstance(answer, ProblemError) else None
        attributes = {"gen_ai.request.model": question.request.model, "okome.node": question.node}
        if isinstance(answer, Grant):
            attributes |= {"okome.grant_id": answer.grant_id, "okome.tier": answer.tier}
        yield Span(
            name="grant",
            trace_id=asked.trace_id,
            span_id=hashlib.sha256(f"{asked.parent_id}grant".encode()).hexdigest()[:16],
            parent_id=asked.parent_id,
            kind="server",
            start=start,
            end=end,
            attributes=attributes,
            error=refused,
        )
