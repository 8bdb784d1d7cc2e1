"""What the policy snapshot offers to whom: names of models, and limits of tiers. Pure."""

from __future__ import annotations

from contracts.policy import PolicyModel, PolicySnapshot, TierLimits

# A model or alias of this name answers where a request cannot name one (`POST /chat`).
DEFAULT_NAME = "default"
_NO_LIMITS = TierLimits()


def find_model(snapshot: PolicySnapshot, name: str) -> PolicyModel | None:
    """The model of this name or alias."""
    meant = snapshot.aliases.get(name, name)
    return next((model for model in snapshot.models if model.id == meant), None)


def tier_limits(snapshot: PolicySnapshot, tier: str) -> TierLimits:
    """Where the tier differs from the limits of all."""
    return snapshot.tiers.get(_counted_as(snapshot, tier), _NO_LIMITS)


def may_use(snapshot: PolicySnapshot, model: PolicyModel, tier: str) -> bool:
    """May users of the tier ask for the model?"""
    return model.tiers is None or _counted_as(snapshot, tier) in model.tiers


def offered(snapshot: PolicySnapshot, tier: str) -> dict[str, PolicyModel]:
    """Every name that users of the tier may ask for: models in order, then aliases."""
    models = {model.id: model for model in snapshot.models if may_use(snapshot, model, tier)}
    aliases = {
        name: models[target] for name, target in snapshot.aliases.items() if target in models
    }
    return models | aliases


def tokens_most(snapshot: PolicySnapshot, model: PolicyModel, tier: str) -> int:
    """Of one answer, by all limits that hold."""
    limits = (snapshot.limits.max_tokens, model.max_tokens, tier_limits(snapshot, tier).max_tokens)
    return min(limit for limit in limits if limit is not None)


def _counted_as(snapshot: PolicySnapshot, tier: str) -> str:
    return tier if tier in snapshot.tiers else snapshot.default_tier or tier
