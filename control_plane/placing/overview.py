"""All engines for a person, and for metrics. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from contracts.policy import CAPABILITIES
from control_plane.fleet.servers import Seat
from control_plane.health import Health
from control_plane.placing.dispatch import Dispatcher
from control_plane.placing.rules import ModelPlaces


def overview(
    dispatcher: Dispatcher, states: Mapping[str, Health], now: float
) -> list[dict[str, Any]]:
    """One entry for each engine, in order of name. `jobs` are those that we sent there;
    `running` and `waiting` what it says itself, null where it does not."""
    found: dict[str, dict[str, Any]] = {}
    for places in dispatcher.rules.models.values():
        for seat in places.seats:
            server = seat.server
            if server.name not in found:
                found[server.name] = _engine(dispatcher, seat, states)
            found[server.name]["models"].append(_model(dispatcher, places, seat, now))
    return [found[name] for name in sorted(found)]


def _engine(dispatcher: Dispatcher, seat: Seat, states: Mapping[str, Health]) -> dict[str, Any]:
    server = seat.server
    share = dispatcher.rules.share_of(server)
    return {
        "name": server.name,
        "kind": server.kind,
        "url": server.url,
        "healthy": states.get(seat.probe, Health()).healthy,
        "drained": server.drained,
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
    powers = fleet.powers_of(seat)
    able = powers.able if places.capabilities is None else places.capabilities
    return {
        "id": places.id,
        "name": seat.target.model,
        "state": fleet.condition(seat, now),
        "breaker": fleet.breakers(now).get(seat.key, "closed"),
        "loaded": not fleet.is_cold(seat),
        "context": places.context or fleet.context_of(seat),
        "capabilities": [name for name in CAPABILITIES if name in able],
    }
