"""Engines, policies and jobs for the tests of placing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from contracts.grants import EngineKind, EngineTarget
from control_plane.fleet.servers import Fleet
from control_plane.health import Health, probe_url
from control_plane.holdings import OpenGrant
from control_plane.placing.dispatch import Dispatcher
from control_plane.placing.placement import Job
from control_plane.placing.questions import Question
from control_plane.placing.rules import ModelPlaces, PlacingRules, shares_of
from control_plane.policy_document import EngineRules, GpuRules, OverloadRules, TierRules

TTL_S = 30.0
TIERS = {
    "free": TierRules(priority=10),
    "pro": TierRules(priority=80),
    "impatient": TierRules(queue=False),
}
KINDS: dict[str, EngineKind] = {"vllm": "vllm", "ollama": "ollama", "tf": "tf_serving"}


def target(engine: str, model: str) -> EngineTarget:
    """A model on an engine; its kind is in its name."""
    kind = next(kind for word, kind in KINDS.items() if engine.startswith(word))
    return EngineTarget(kind=kind, base_url=f"http://{engine}", model=model, name=engine)


class Place:
    """A dispatcher over engines whose health a test says."""

    def __init__(
        self,
        models: Mapping[str, list[str]],
        engines: Mapping[str, EngineRules] | None = None,
        gpus: Mapping[str, GpuRules] | None = None,
        overload: OverloadRules | None = None,
        smaller: Mapping[str, str] | None = None,
        **more: Any,
    ) -> None:
        self.states: dict[str, Health] = {}
        self.fleet = Fleet(self.states)
        self.count = 0
        places = {
            name: ModelPlaces(
                id=name,
                seats=self.fleet.seats([target(engine, name) for engine in on]),
                smaller=(smaller or {}).get(name),
                **more,
            )
            for name, on in models.items()
        }
        rules = PlacingRules(
            models=places,
            shares=shares_of(engines or {}, gpus or {}),
            tiers=TIERS,
            overload=overload or OverloadRules(),
        )
        self.dispatcher = Dispatcher(self.fleet, TTL_S, rules)

    def question(
        self, model: str = "m", user: str = "u", tier: str = "free", tokens: int = 100, **job: Any
    ) -> Question:
        self.count += 1
        return Question(
            grant=grant(f"g{self.count}", user),
            model=model,
            tier=tier,
            job=Job(**job),
            max_tokens=tokens,
        )

    def put(self, healthy: bool, engine: str, model: str = "m") -> None:
        """The engine's health check says so."""
        self.states[probe_url(target(engine, model))] = Health(healthy=healthy)


def grant(name: str, user: str, until: float = 1e12) -> OpenGrant:
    return OpenGrant(
        id=name,
        lease_id=f"lease-{name}",
        user_id=user,
        node="n03w0",
        model="",
        tokens=0,
        created_at=0.0,
        lease_until=until,
        reserved_until=1e12,
    )
