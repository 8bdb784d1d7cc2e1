"""The places of a model as they are at this moment. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from contracts.policy import CAPABILITIES
from control_plane.fleet.readings import Powers
from control_plane.fleet.seats import Seat, Server
from control_plane.fleet.servers import Fleet
from control_plane.placing.arbitration import MEMORY_FULL, Sign, gpu_is_full, verdict
from control_plane.placing.occupancy import Occupancy
from control_plane.placing.placement import Candidate
from control_plane.placing.rules import ModelPlaces, PlacingRules, Share

# What an engine that names no slots counts for among others.
_SLOTS_ASSUMED: Final = 16
_ALL: Final = frozenset(CAPABILITIES)


def candidates_of(
    places: ModelPlaces, rules: PlacingRules, fleet: Fleet, occupancy: Occupancy, now: float
) -> list[Candidate]:
    """Every engine of the model, in order of preference."""
    said = places.capabilities
    powers = None if said is None else Powers(said, _ALL - said)
    return [_candidate(seat, places, powers, rules, fleet, occupancy, now) for seat in places.seats]


def free_urls(rules: PlacingRules, fleet: Fleet, occupancy: Occupancy) -> set[str]:
    """Engines that our own jobs do not fill; whether one may be used is not asked here."""
    return {
        url
        for url, server in fleet.servers.items()
        if not _filled(server, rules.share_of(server.name), occupancy)
    }


def pressure(candidates: Sequence[Candidate]) -> float:
    """How much of the slots of a model's engines is taken, of 1: of those that are up."""
    taken = slots = 0.0
    for candidate in candidates:
        if candidate.condition == "up":
            weight = candidate.slots or _SLOTS_ASSUMED
            known = candidate.slots is not None
            slots += weight
            taken += min(weight, candidate.used if known else 0) if candidate.has_room else weight
    return taken / slots if slots else 0.0


def _candidate(
    seat: Seat,
    places: ModelPlaces,
    powers: Powers | None,
    rules: PlacingRules,
    fleet: Fleet,
    occupancy: Occupancy,
    now: float,
) -> Candidate:
    # Of every engine at every grant, so what is rare is looked at last.
    server = seat.server
    used = occupancy.held(server.url) + server.others
    share = rules.share_of(seat.name)
    slots = server.offer.slots if share.slots is None else share.slots
    signs: list[Sign] = _filled(server, share, occupancy)
    load = server.load
    if load.waiting:
        signs.append("waiting")
    if load.cache is not None and load.cache >= MEMORY_FULL and load.running:
        signs.append("memory")
    if server.asked_at is not None and fleet.is_late(server, now):
        signs.append("late")
    if server.offer.loaded is not None and fleet.is_cold(seat):
        signs.append("cold")
    condition = fleet.condition(seat, now)
    if server.silent and condition == "up" and not rules.bounded:
        # Nobody waits for a place then: who is sent there would hear nothing at all.
        condition = "silent"
    return Candidate(
        seat.target,
        server.url,
        seat.rank,
        condition,
        verdict(server.kind, signs, share.gpu) if signs else None,
        fleet.powers_of(seat) if powers is None else powers,
        places.context or fleet.context_of(seat),
        used,
        slots,
        "cold" in signs,
    )


def _filled(server: Server, share: Share, occupancy: Occupancy) -> list[Sign]:
    """What of its limits is reached."""
    used = occupancy.held(server.url) + server.others
    slots = server.offer.slots if share.slots is None else share.slots
    signs: list[Sign] = ["slots"] if slots is not None and used >= slots else []
    if share.gpu is not None and share.gpu.jobs is not None:
        together = occupancy.on_gpu(share.gpu_name) + server.others
        if gpu_is_full(share.gpu, together, used):
            signs.append("gpu")
    return signs
