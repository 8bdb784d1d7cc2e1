"""Granting alone while the control plane is away (CONTRACT, promise 8). Pure."""

from __future__ import annotations

from contracts.grants import Grant, GrantQuestion, Lease, Limits, Reservation
from contracts.policy import PolicySnapshot
from contracts.problems import ProblemError

LEASE_PREFIX = "degraded-"


def grant_alone(
    policy: PolicySnapshot,
    question: GrantQuestion,
    *,
    user_id: str,
    tier: str,
    grant_id: str,
    until: float,
    running: int,
) -> Grant:
    """The grant that the last snapshot allows; `until` is Unix seconds.

    `running`: the user's streams on this broker, which is all that it can count. Raises
    ProblemError `unknown_model`, `model_not_allowed`, `no_engine` or `too_many_streams`.
    """
    model = next((m for m in policy.models if m.id == question.model), None)
    if model is None:
        raise ProblemError("unknown_model", f"No model is called {question.model!r}")
    if model.tiers is not None and tier not in model.tiers:
        raise ProblemError("model_not_allowed", f"{question.model} is not in your tier")
    if not model.engines:
        raise ProblemError("no_engine", f"No engine has {question.model}")
    limits = policy.limits
    if running >= limits.streams_per_user:
        raise ProblemError(
            "too_many_streams",
            f"At most {limits.streams_per_user} streams may run at once; "
            "end one, or wait for one to end.",
        )
    tokens = min(question.max_tokens or limits.default_max_tokens, limits.max_tokens)
    stays = question.kind in ("job", "ws")
    return Grant(
        grant_id=grant_id,
        user_id=user_id,
        tier=tier,
        engine=model.engines[0],
        fallbacks=list(model.engines[1:]),
        limits=Limits(
            max_tokens=tokens,
            deadline_s=limits.deadline_s,
            detach_grace_s=None if stays else limits.detach_grace_s,
        ),
        tools=policy.tools,
        inspection={},
        pacing=policy.pacing,
        lease=Lease(id=LEASE_PREFIX + grant_id, ttl_s=limits.lease_ttl_s),
        reservation=Reservation(tokens=tokens + question.prompt_tokens_estimate),
        degraded_until=until,
    )
