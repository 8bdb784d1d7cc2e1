"""Finds a place for a job among the engines of a model, and takes it. Pure: time is an argument.

Who has to wait for one, and who is next, is said elsewhere (`dispatch.py`).
"""

from __future__ import annotations

from typing import Final

import msgspec

from contracts.grants import EngineTarget, Told
from contracts.problems import ProblemError
from control_plane.fleet.servers import Fleet
from control_plane.holdings import OpenGrant
from control_plane.placing.affinity import Affinities
from control_plane.placing.candidates import candidates_of
from control_plane.placing.occupancy import Held, Occupancy
from control_plane.placing.placement import Candidate, Full, Job, Placed, place
from control_plane.placing.questions import Counts, Decision, Question
from control_plane.placing.rules import ModelPlaces, PlacingRules

ANY: Final = Job()
_SMALLER_MAX: Final = 4


class Placer:
    """The engines, and all jobs that are at them."""

    def __init__(self, fleet: Fleet, rules: PlacingRules, counts: Counts) -> None:
        self.fleet = fleet
        self.rules = rules
        self.occupancy = Occupancy()
        self.affinities = Affinities()
        self._counts = counts
        self._cold: dict[str, EngineTarget] = {}

    def candidates(self, places: ModelPlaces, now: float) -> list[Candidate]:
        """The engines of a model as they are now."""
        return candidates_of(places, self.rules, self.fleet, self.occupancy, now)

    def place(
        self, places: ModelPlaces, job: Job, now: float, *, bounded: bool | None = None
    ) -> Placed | Full:
        """Where the job would go now, or that all is full; without `bounded` nothing is, None: as
        the rules say. Raises ProblemError."""
        candidates = self.candidates(places, now)
        return self.find(places, job, candidates, bounded=bounded)

    def find(
        self,
        places: ModelPlaces,
        job: Job,
        candidates: list[Candidate],
        *,
        bounded: bool | None = None,
    ) -> Placed | Full:
        """As `place` (here), among these candidates."""
        last = self.affinities.get(places.id, job.affinity)
        bounded = self.rules.bounded if bounded is None else bounded
        return place(places.id, job, candidates, last, bounded=bounded)

    def has_room(self, places: ModelPlaces, now: float) -> bool:
        """May a job that needs nothing in particular start now?"""
        try:
            return isinstance(self.place(places, ANY, now), Placed)
        except ProblemError:
            return False

    def take(
        self, grant: OpenGrant, places: ModelPlaces, found: Placed, now: float, job: Job = ANY
    ) -> Held:
        """The job is at the first of these engines from now on."""
        target = found.targets[0]
        seat = next(seat for seat in places.seats if seat.target is target)
        share = self.rules.share_of(seat.name)
        grant.model = places.id
        held = Held(
            grant=grant,
            model=places.id,
            url=seat.server.url,
            targets=found.targets,
            since=now,
            gpu=share.gpu_name or None,
            trial=found.trial,
        )
        self.occupancy.take(held)
        self.affinities.put(places.id, job.affinity, seat.server.url)
        self._counts.placements[(seat.name, found.reason)] += 1
        if found.trial:
            self.fleet.begin_trial(seat.key, now)
        if found.warm is not None:
            self._cold[found.warm.base_url] = found.warm
        return held

    def smaller(self, places: ModelPlaces, tier: str) -> list[ModelPlaces]:
        """The models that answer instead, one after the other."""
        found: list[ModelPlaces] = []
        name, models = places.smaller, self.rules.models
        while name is not None and name in models and len(found) < _SMALLER_MAX:
            smaller = models[name]
            if smaller is places or smaller in found:
                break
            found.append(smaller)
            name = smaller.smaller
        return [m for m in found if m.tiers is None or tier in m.tiers]

    def shortened(
        self, question: Question, model: str, targets: tuple[EngineTarget, ...], crowded: float
    ) -> Decision:
        """With a shorter answer, where the policy says so and the client would have had more."""
        overload, tokens = self.rules.overload, question.max_tokens
        decision = Decision(model=model, targets=targets, max_tokens=tokens)
        most = overload.shorten_to
        if (
            not self.rules.bounded
            or most is None
            or tokens <= most
            or crowded < overload.shorten_at
            # One shot has no length that could be made smaller.
            or all(target.kind == "tf_serving" for target in targets)
        ):
            return decision
        self._counts.steps[(question.model, "shorter")] += 1
        told = Told(code="limited", message=f"{model} is busy: at most {most} tokens")
        return msgspec.structs.replace(decision, max_tokens=most, notices=(told,))

    def take_cold(self) -> list[EngineTarget]:
        """Engines that were passed over because they would have to load the model, once."""
        cold, self._cold = list(self._cold.values()), {}
        return cold
