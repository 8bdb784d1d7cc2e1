"""What the placing wants to know of a policy, made of its rulebook."""

from __future__ import annotations

from control_plane.fleet.servers import Fleet
from control_plane.placing.rules import ModelPlaces, PlacingRules, shares_of
from control_plane.rulebook import ResolvedModel, Rulebook


def placing_rules(rules: Rulebook, fleet: Fleet, *, bounded: bool) -> PlacingRules:
    """The rules, with their engines met by `fleet`, which forgets all others.

    Without `bounded` no engine is ever full: they queue by themselves.
    """
    models = {name: _places(model, rules, fleet) for name, model in rules.models.items()}
    fleet.keep(seat.server.url for places in models.values() for seat in places.seats)
    return PlacingRules(
        models=models,
        shares=shares_of({name: e.rules for name, e in rules.engines.items()}, rules.gpus),
        tiers=rules.tiers,
        overload=rules.overload,
        bounded=bounded,
    )


def _places(model: ResolvedModel, rules: Rulebook, fleet: Fleet) -> ModelPlaces:
    said = model.rules
    contexts = [rules.engines[target.name].context(target.model) for target in model.engines]
    return ModelPlaces(
        id=model.id,
        seats=fleet.seats(model.engines, contexts),
        context=said.context,
        capabilities=None if said.capabilities is None else frozenset(said.capabilities),
        tiers=None if said.tiers is None else frozenset(said.tiers),
        smaller=said.smaller,
    )
