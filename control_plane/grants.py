"""Which engine, which limits: the pure part of a grant."""

from __future__ import annotations

from typing import Any, Final

from contracts.grants import GrantQuestion, JobKind, Limits, Told
from contracts.policy import PolicyLimits
from contracts.problems import ProblemError
from control_plane.placing.placement import Job
from inventory.settings import Settings

# Anti-jitter: a token is held at most this long, the first one never (CONTRACT).
HOLD_MAX_MS: Final = 100

_ESTIMATE_MAX: Final = 1 << 31
_DETACHING: Final[frozenset[JobKind]] = frozenset({"chat_completion", "chat"})


def policy_limits(settings: Settings) -> PolicyLimits:
    """The limits that a broker applies when it grants alone."""
    return PolicyLimits(
        max_tokens=settings.max_tokens,
        default_max_tokens=settings.default_max_tokens,
        deadline_s=settings.job_deadline,
        streams_per_user=settings.streams_per_user,
        lease_ttl_s=settings.lease_ttl,
        detach_grace_s=settings.detach_grace,
    )


def pacing_of(settings: Settings, mode: str | None = None) -> dict[str, Any]:
    """How brokers pace the tokens of a job, the same for grants and for the policy. `mode`:
    the model's own, where it has one."""
    return {"mode": mode or settings.pacing, "hold_max_ms": HOLD_MAX_MS}


def limits_for(question: GrantQuestion, limits: PolicyLimits, most: int | None = None) -> Limits:
    """The limits of one job; `most` tokens by the policy, which makes a wish smaller and does
    not refuse it. Raises ProblemError `invalid_request` for numbers out of range."""
    _within("prompt_tokens_estimate", question.prompt_tokens_estimate, 0, _ESTIMATE_MAX)
    max_tokens = question.max_tokens
    if max_tokens is None:
        max_tokens = min(limits.default_max_tokens, limits.max_tokens)
    _within("max_tokens", max_tokens, 1, limits.max_tokens)
    return Limits(
        max_tokens=max_tokens if most is None else min(max_tokens, most),
        deadline_s=limits.deadline_s,
        detach_grace_s=limits.detach_grace_s if question.kind in _DETACHING else None,
    )


def told_of(question: GrantQuestion, limits: Limits) -> list[Told]:
    """What the client is told of its limits: that they are below its wish."""
    if question.max_tokens is None or limits.max_tokens >= question.max_tokens:
        return []
    return [Told(code="limited", message=f"An answer has at most {limits.max_tokens} tokens here")]


def job_of(question: GrantQuestion) -> Job:
    """What of a request decides where it runs."""
    needs = []
    if question.tools or question.server_tools:
        needs.append("tools")
    if question.vision:
        needs.append("vision")
    if question.kind == "embedding":
        needs.append("embeddings")
    # Images are counted by their bytes, which says nothing of their tokens.
    tokens = None if question.vision else question.prompt_tokens_estimate
    return Job(tuple(needs), tokens, question.affinity)


def _within(field: str, value: int, least: int, most: int) -> None:
    if not least <= value <= most:
        raise ProblemError(
            "invalid_request", f"{field} must be from {least} to {most}.", field=field
        )
