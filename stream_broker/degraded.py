"""Granting alone while the control plane is away (CONTRACT, promise 8). Pure."""

from __future__ import annotations

from contracts.grants import Grant, GrantQuestion, Lease, Limits, Reservation, Told
from contracts.policy import PolicySnapshot
from contracts.problems import ProblemError
from stream_broker.offers import find_model, may_use, tier_limits, tokens_most

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
    model = find_model(policy, question.model)
    if model is None:
        raise ProblemError("unknown_model", f"No model is called {question.model!r}")
    if not may_use(policy, model, tier):
        raise ProblemError("model_not_allowed", f"{question.model} is not in your tier")
    if not model.engines:
        raise ProblemError("no_engine", f"No engine has {question.model}")
    limits = policy.limits
    streams = tier_limits(policy, tier).streams
    if streams is None:
        streams = limits.streams_per_user
    if running >= streams:
        raise ProblemError(
            "too_many_streams",
            f"At most {streams} streams may run at once; end one, or wait for one to end.",
        )
    most = tokens_most(policy, model, tier)
    tokens = min(question.max_tokens or limits.default_max_tokens, most)
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
        tools=[],
        inspection={},
        pacing=policy.pacing | ({"mode": model.pacing} if model.pacing else {}),
        lease=Lease(id=LEASE_PREFIX + grant_id, ttl_s=limits.lease_ttl_s),
        reservation=Reservation(tokens=tokens + question.prompt_tokens_estimate),
        degraded_until=until,
        notices=_told(question, tokens),
    )


def _told(question: GrantQuestion, tokens: int) -> list[Told]:
    """As the control plane would: that an answer may be shorter than was asked for."""
    if question.max_tokens is None or tokens >= question.max_tokens:
        return []
    return [Told(code="limited", message=f"An answer has at most {tokens} tokens here")]
