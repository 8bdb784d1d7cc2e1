"""What the policy says about placing, as the placing wants it: frozen, made once for each
policy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from contracts.grants import EngineTarget
from control_plane.fleet.seats import Seat
from control_plane.policy_document import EngineRules, GpuRules, OverloadRules, TierRules

_NO_TIER: Final = TierRules()


class ModelPlaces(msgspec.Struct, frozen=True, kw_only=True):
    """A public model and its places. `context` in tokens, None: as its engines tell;
    `capabilities` None: what its engines say of themselves."""

    id: str
    seats: tuple[Seat, ...]
    context: int | None = None
    capabilities: frozenset[str] | None = None
    tiers: frozenset[str] | None = None
    smaller: str | None = None

    @property
    def targets(self) -> tuple[EngineTarget, ...]:
        """Its engines, in order of preference."""
        return tuple(seat.target for seat in self.seats)


class Share(msgspec.Struct, frozen=True):
    """What one engine is given. `slots` None: as many as it says itself."""

    slots: int | None = None
    gpu_name: str = ""
    gpu: GpuRules | None = None


_NO_SHARE: Final = Share()


class PlacingRules(msgspec.Struct, frozen=True, kw_only=True):
    """All of it. `shares` by the engines' names. `bounded`: whether engines can be full:
    without a policy file they queue by themselves, as long as they will."""

    models: Mapping[str, ModelPlaces]
    shares: Mapping[str, Share] = {}
    tiers: Mapping[str, TierRules] = {}
    overload: OverloadRules = OverloadRules()
    bounded: bool = True

    def tier(self, name: str) -> TierRules:
        """What is said of a tier."""
        return self.tiers.get(name, _NO_TIER)

    def share_of(self, name: str) -> Share:
        """What the engine of this name is given."""
        return self.shares.get(name, _NO_SHARE)

    def rivals(self) -> dict[str, frozenset[str]]:
        """For each model those, itself among them, that may be in its way: they share an
        engine or a GPU."""
        needs = {name: self._resources(places) for name, places in self.models.items()}
        return {
            name: frozenset(other for other, theirs in needs.items() if own & theirs)
            for name, own in needs.items()
        }

    def _resources(self, places: ModelPlaces) -> frozenset[str]:
        gpus = [self.share_of(seat.name).gpu_name for seat in places.seats]
        return frozenset([*(seat.server.url for seat in places.seats), *filter(None, gpus)])


def shares_of(engines: Mapping[str, EngineRules], gpus: Mapping[str, GpuRules]) -> dict[str, Share]:
    """What each engine is given, of these parts of a policy."""
    return {
        name: Share(rules.slots, rules.gpu or "", gpus.get(rules.gpu or ""))
        for name, rules in engines.items()
    }
