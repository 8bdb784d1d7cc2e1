"""The policy and the inventory as one: what decisions look into. Pure, and never changed:
a policy that is read anew is another rulebook."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from contracts.grants import EngineKind, EngineTarget
from contracts.policy import PolicyModel, TierLimits
from contracts.problems import ProblemError
from control_plane.policy_checks import aliased
from control_plane.policy_document import (
    CalculatorTool,
    EngineRules,
    GpuRules,
    ModelEngine,
    ModelRules,
    OverloadRules,
    PolicyDocument,
    TierRules,
    TimeTool,
    Tool,
)
from inventory.model import Cluster, EngineSpec

VERSION_LENGTH: Final = 16
_ANY_TIER: Final = TierRules()
# What is offered where no file says which tools there are.
_BUILT_IN: Final[dict[str, Tool]] = {"time": TimeTool(), "calculator": CalculatorTool()}


class ResolvedEngine(msgspec.Struct, frozen=True, kw_only=True):
    """One server of the inventory. `contexts`: tokens by the name of each of its models."""

    name: str
    kind: EngineKind
    base_url: str
    rules: EngineRules
    contexts: Mapping[str, int]

    def target(self, model: str) -> EngineTarget:
        """The engine for one of its models."""
        return EngineTarget(kind=self.kind, base_url=self.base_url, model=model, name=self.name)

    def context(self, model: str) -> int:
        """In tokens, as the inventory says it; of a model that it does not name, the smallest
        that it names of this engine."""
        return self.contexts.get(model) or min(self.contexts.values())


class ResolvedModel(msgspec.Struct, frozen=True, kw_only=True):
    """One public model. `engines` in order of preference; `context` in tokens, the smallest
    among them where the file says none, so that a fallback never truncates."""

    id: str
    rules: ModelRules
    engines: tuple[EngineTarget, ...]
    context: int


class Rulebook:
    """One policy. `version` names its content: the same text and inventory, the same."""

    def __init__(self, document: PolicyDocument, cluster: Cluster) -> None:
        """`document` was checked against `cluster`, or derived from it."""
        self.document = document
        servers = _servers(cluster)
        self.engines: Mapping[str, ResolvedEngine] = {
            name: _engine(name, specs, document.engines.get(name, EngineRules()))
            for name, specs in servers.items()
        }
        self.models: Mapping[str, ResolvedModel] = {
            name: self._resolved(name, rules) for name, rules in document.models.items()
        }
        self.aliases: Mapping[str, str] = {
            name: target
            for name in document.aliases
            if (target := aliased(document.aliases, name)) is not None
        }
        seen = msgspec.json.encode((document, self.engines))
        self.version = hashlib.sha256(seen).hexdigest()[:VERSION_LENGTH]

    @property
    def tiers(self) -> Mapping[str, TierRules]:
        """Rules by tier."""
        return self.document.tiers

    @property
    def overload(self) -> OverloadRules:
        """What happens when engines are full."""
        return self.document.overload

    @property
    def gpus(self) -> Mapping[str, GpuRules]:
        """What engines share."""
        return self.document.gpus

    @property
    def tools(self) -> Mapping[str, Tool]:
        """Every tool by its name."""
        return self.document.tools

    @property
    def targets(self) -> list[EngineTarget]:
        """Every engine for every model, each once."""
        found = (target for model in self.models.values() for target in model.engines)
        return list(dict.fromkeys(found))

    def find(self, name: str) -> ResolvedModel | None:
        """The model of this name or alias."""
        return self.models.get(self.aliases.get(name, name))

    def tier_name(self, tier: str) -> str:
        """As which tier the users of `tier` count."""
        return tier if tier in self.tiers else self.document.default_tier or tier

    def tier(self, tier: str) -> TierRules:
        """What holds for the users of a tier."""
        return self.tiers.get(self.tier_name(tier), _ANY_TIER)

    def may_use(self, model: ResolvedModel, tier: str) -> bool:
        """May users of the tier ask for the model?"""
        return model.rules.tiers is None or self.tier_name(tier) in model.rules.tiers

    def model_for(self, name: str, tier: str) -> ResolvedModel:
        """The model for a user's job. Raises ProblemError `unknown_model` or
        `model_not_allowed`."""
        model = self.find(name)
        if model is None:
            raise ProblemError("unknown_model", "No engine offers this model.", field="model")
        if not self.may_use(model, tier):
            raise ProblemError("model_not_allowed", f"The tier {tier} may not use this model.")
        return model

    def tokens_most(self, model: ResolvedModel, tier: str) -> int | None:
        """Of one answer, as the policy says; None: it does not."""
        limits = (model.rules.max_tokens, self.tier(tier).max_tokens)
        return min((limit for limit in limits if limit is not None), default=None)

    def streams(self, tier: str) -> int | None:
        """How many a user of the tier may have at once, unless the database says it."""
        return self.tier(tier).streams

    def policy_models(self, created: int) -> list[PolicyModel]:
        """The models as brokers are told of them; `created` in Unix seconds."""
        return [_policy_model(model, created) for model in self.models.values()]

    def tier_limits(self, set_streams: Callable[[str], int | None]) -> dict[str, TierLimits]:
        """The tiers as brokers are told of them; `set_streams`: of a tier, what counts more than
        the policy's."""
        found = {}
        for name, rules in self.tiers.items():
            streams = set_streams(name)
            streams = rules.streams if streams is None else streams
            found[name] = TierLimits(max_tokens=rules.max_tokens, streams=streams)
        return found

    def _resolved(self, name: str, rules: ModelRules) -> ResolvedModel:
        served = [(self.engines[one.engine], one.model or name) for one in rules.engines]
        told = min(engine.context(model) for engine, model in served)
        return ResolvedModel(
            id=name,
            rules=rules,
            engines=tuple(engine.target(model) for engine, model in served),
            context=rules.context or told,
        )


def engine_names(cluster: Cluster) -> list[str]:
    """What the engines of the core GPU nodes are called, in the order of the inventory."""
    return list(_servers(cluster))


def derived_document(cluster: Cluster) -> PolicyDocument:
    """What holds without a file: each model of the inventory on its engines, for everybody,
    with the built-in tools."""
    models: dict[str, ModelRules] = {}
    for name, specs in _servers(cluster).items():
        for spec in specs:
            here = ModelEngine(engine=name, model=spec.model)
            known = models.get(spec.model, ModelRules(engines=[]))
            tools = known.tools or ([] if spec.kind == "tf_serving" else list(_BUILT_IN))
            engines = [*known.engines, *([] if here in known.engines else [here])]
            models[spec.model] = ModelRules(engines=engines, tools=tools)
    return PolicyDocument(version=1, models=models, tools=_BUILT_IN)


def _servers(cluster: Cluster) -> dict[str, list[EngineSpec]]:
    found: dict[str, list[EngineSpec]] = {}
    for node in cluster.role("core_gpu"):
        for spec in node.engines:
            found.setdefault(spec.name or f"{spec.kind}@{node.name}", []).append(spec)
    return found


def _engine(name: str, specs: list[EngineSpec], rules: EngineRules) -> ResolvedEngine:
    contexts: dict[str, int] = {}
    for spec in specs:
        contexts[spec.model] = min(spec.context, contexts.get(spec.model, spec.context))
    first = specs[0]
    return ResolvedEngine(
        name=name, kind=first.kind, base_url=first.base_url, rules=rules, contexts=contexts
    )


def _policy_model(model: ResolvedModel, created: int) -> PolicyModel:
    rules = model.rules
    capabilities: list[str] = list(rules.capabilities or ())
    return PolicyModel(
        id=model.id,
        engines=list(model.engines),
        context=model.context,
        created=created,
        tools="tools" in capabilities,
        tiers=rules.tiers,
        capabilities=capabilities,
        server_tools=rules.tools,
        max_tokens=rules.max_tokens,
        pacing=rules.pacing,
    )
