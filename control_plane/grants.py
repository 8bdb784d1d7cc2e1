"""Which engine, which limits: the pure part of a grant."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from contracts.grants import EngineTarget, GrantQuestion, JobKind, Limits
from contracts.policy import PolicyLimits, PolicyModel
from contracts.problems import ProblemError
from inventory.model import Cluster
from inventory.settings import Settings

# Anti-jitter: a token is held at most this long, the first one never (CONTRACT).
HOLD_MAX_MS: Final = 100
INSPECTION: Final[dict[str, Any]] = {}

_ESTIMATE_MAX: Final = 1 << 31
_DETACHING: Final[frozenset[JobKind]] = frozenset({"chat_completion", "chat"})


def models_of(cluster: Cluster, created: int) -> list[PolicyModel]:
    """The models of the core GPU nodes by public name, engines in the order of the inventory.

    `context` is the smallest among a model's engines, so that a fallback never truncates;
    `created` (Unix seconds) is what `GET /v1/models` shows.
    """
    found: dict[str, PolicyModel] = {}
    for node in cluster.role("core_gpu"):
        for spec in node.engines:
            target = EngineTarget(kind=spec.kind, base_url=spec.base_url, model=spec.model)
            known = found.get(spec.model)
            found[spec.model] = PolicyModel(
                id=spec.model,
                engines=[*(known.engines if known else []), target],
                context=min(spec.context, known.context) if known else spec.context,
                created=created,
            )
    return list(found.values())


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


def pacing_of(settings: Settings) -> dict[str, Any]:
    """How brokers pace the tokens of a job, the same for grants and for the policy."""
    return {"mode": settings.pacing, "hold_max_ms": HOLD_MAX_MS}


def find_model(models: Sequence[PolicyModel], name: str, tier: str) -> PolicyModel:
    """The model called `name`. Raises ProblemError `unknown_model` or `model_not_allowed`."""
    for model in models:
        if model.id == name:
            if model.tiers is not None and tier not in model.tiers:
                raise ProblemError("model_not_allowed", f"The tier {tier} may not use this model.")
            return model
    raise ProblemError("unknown_model", "No engine offers this model.", field="model")


def limits_for(question: GrantQuestion, limits: PolicyLimits) -> Limits:
    """The limits of one job. Raises ProblemError `invalid_request` for numbers out of range."""
    _within("prompt_tokens_estimate", question.prompt_tokens_estimate, 0, _ESTIMATE_MAX)
    max_tokens = question.max_tokens
    if max_tokens is None:
        max_tokens = min(limits.default_max_tokens, limits.max_tokens)
    _within("max_tokens", max_tokens, 1, limits.max_tokens)
    return Limits(
        max_tokens=max_tokens,
        deadline_s=limits.deadline_s,
        detach_grace_s=limits.detach_grace_s if question.kind in _DETACHING else None,
    )


def choose_engine(
    model: PolicyModel, is_healthy: Callable[[EngineTarget], bool]
) -> tuple[EngineTarget, list[EngineTarget]]:
    """The first healthy engine and the healthy ones after it.

    Raises ProblemError `no_engine` when none is.
    """
    healthy = [engine for engine in model.engines if is_healthy(engine)]
    if not healthy:
        raise ProblemError("no_engine", f"No engine with the model {model.id} is up.")
    return healthy[0], healthy[1:]


def _within(field: str, value: int, least: int, most: int) -> None:
    if not least <= value <= most:
        raise ProblemError(
            "invalid_request", f"{field} must be from {least} to {most}.", field=field
        )
