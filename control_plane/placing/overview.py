"""All engines for a person, and for metrics. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from contracts.grants import EngineTarget
from contracts.policy import CAPABILITIES, PolicyModel
from control_plane.fleet.seats import Seat
from control_plane.health import Health
from control_plane.placing.dispatch import Dispatcher
from control_plane.placing.rules import ModelPlaces


def overview(
    dispatcher: Dispatcher,
    states: Mapping[str, Health],
    proven: Callable[[EngineTarget], EngineTarget],
    now: float,
) -> list[dict[str, Any]]:
    """One entry for each engine, in order of name. `jobs` are those that we sent there;
    `running` and `waiting` what it says itself, null where it does not. `proven` tells what
    was seen of continuing a text."""
    found: dict[str, dict[str, Any]] = {}
    for places in dispatcher.rules.models.values():
        for seat in places.seats:
            if seat.name not in found:
                found[seat.name] = _engine(dispatcher, seat, states)
            found[seat.name]["models"].append(
                _model(dispatcher, places, seat, now) | {"continues": proven(seat.target).continues}
            )
    return [found[name] for name in sorted(found)]


def capable(dispatcher: Dispatcher, models: Iterable[PolicyModel]) -> list[PolicyModel]:
    """The models with what all their engines are known to be able to do."""
    return [
        msgspec.structs.replace(model, capabilities=_shared(dispatcher, model)) for model in models
    ]


def _shared(dispatcher: Dispatcher, model: PolicyModel) -> list[str]:
    places = dispatcher.rules.models.get(model.id)
    if places is None or places.capabilities is not None:
        return model.capabilities
    powers = [dispatcher.fleet.powers_of(seat).able for seat in places.seats]
    return [name for name in CAPABILITIES if all(name in able for able in powers)]


def _engine(dispatcher: Dispatcher, seat: Seat, states: Mapping[str, Health]) -> dict[str, Any]:
    server = seat.server
    share = dispatcher.rules.share_of(seat.name)
    return {
        "name": seat.name,
        "kind": seat.target.kind,
        "url": server.url,
        "healthy": states.get(seat.probe, Health()).healthy,
        "drained": seat.name in dispatcher.fleet.drained,
        "jobs": dispatcher.occupancy.held(server.url),
        "slots": server.offer.slots if share.slots is None else share.slots,
        "running": server.load.running,
        "waiting": server.load.waiting,
        "cache": server.load.cache,
        "gpu": share.gpu_name or None,
        "models": [],
    }


def _model(dispatcher: Dispatcher, places: ModelPlaces, seat: Seat, now: float) -> dict[str, Any]:
    fleet = dispatcher.fleet
    powers, condition = fleet.powers_of(seat), fleet.condition(seat, now)
    able = powers.able if places.capabilities is None else places.capabilities
    return {
        "id": places.id,
        "name": seat.target.model,
        "state": "late" if condition == "up" and fleet.is_late(seat.server, now) else condition,
        "breaker": fleet.breakers(now).get(seat.key, "closed"),
        "loaded": not fleet.is_cold(seat),
        "context": places.context or fleet.context_of(seat),
        "capabilities": [name for name in CAPABILITIES if name in able],
    }
