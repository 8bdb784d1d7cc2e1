"""Sends jobs to engines, in steps as these fill up: a shorter answer, a smaller model, a wait,
a refusal. Pure: time is an argument, nothing is awaited, so no decision is split by another.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

import msgspec

from contracts.grants import Told, Turn, TurnAnswer
from contracts.problems import ProblemError
from control_plane.fleet.servers import Fleet
from control_plane.holdings import OpenGrant
from control_plane.placing.candidates import free_urls, pressure
from control_plane.placing.occupancy import Held
from control_plane.placing.placement import Candidate, Full, Job, Placed
from control_plane.placing.placer import ANY, Placer
from control_plane.placing.questions import Counts, Decision, Question, overloaded
from control_plane.placing.rules import ModelPlaces, PlacingRules
from control_plane.placing.waiting import Waiter, Waiting

# Beyond the time in which a broker was to ask again: then its place goes to another.
LATE_GRACE_S: Final = 1.0
_ASK_SOON_S: Final = 0.25
_ASK_PER_PLACE_S: Final = 0.05
_ASK_MAX_S: Final = 2.0
_TOLD_REMEMBERED: Final = 4096


class Dispatcher:
    """All jobs at engines and before them. `waiter_ttl_s`: a job whose broker does not ask
    for so long waits no more."""

    def __init__(self, fleet: Fleet, waiter_ttl_s: float, rules: PlacingRules) -> None:
        self.fleet = fleet
        self.counts = Counts()
        self.placer = Placer(fleet, rules, self.counts)
        self.occupancy = self.placer.occupancy
        self.waiting = Waiting(self.occupancy.running)
        self.follow(rules)
        self._ttl = waiter_ttl_s
        self._refused: OrderedDict[str, None] = OrderedDict()
        # Jobs that waited and were given a place, until their brokers have come for it.
        self._called: dict[str, Waiter] = {}

    def follow(self, rules: PlacingRules) -> None:
        """These rules hold from now on."""
        self.rules = self.placer.rules = rules
        self._rivals = rules.rivals()

    def decide(self, question: Question, now: float) -> Decision:
        """Where a new job goes, or that it waits. It counts from now on, until `ended`.

        Raises ProblemError `invalid_request`, `context_too_long`, `no_engine` or
        `overloaded`; then nothing is taken.
        """
        places = self.rules.models[question.model]
        candidates = self.placer.candidates(places, now)
        crowded = pressure(candidates) if self.rules.overload.shorten_to else 0.0
        found = self._try(places, question, candidates, now)
        if isinstance(found, Placed):
            return self.placer.shortened(question, places.id, found.targets, crowded)
        for smaller in self.placer.smaller(places, question.tier):
            answer = self._try_smaller(smaller, question, now)
            if answer is not None:
                self.waiting.leave(question.grant.id)
                self.counts.steps[(places.id, "smaller")] += 1
                told = Told(
                    code="limited",
                    message=f"{places.id} is overloaded: {smaller.id} answers instead",
                )
                decision = self.placer.shortened(question, smaller.id, answer.targets, 0.0)
                return msgspec.structs.replace(decision, notices=(told,), smaller=True)
        return self._queue(places, question, found, now)

    def turn(self, grant_id: str, now: float) -> TurnAnswer | None:
        """Whether a job that waits may start; None: it does not wait here.

        Raises ProblemError `overloaded` for one that has waited for too long.
        """
        waiter = self.waiting.get(grant_id)
        if waiter is not None:
            was_late, waiter.seen = waiter.is_late(now, LATE_GRACE_S), now
            if was_late:  # a place may have been free for it all the while
                self._advance(now)
        held = self.occupancy.get(grant_id)
        if held is not None and not held.adopted:
            self._called.pop(grant_id, None)
            return TurnAnswer(engine=held.targets[0], fallbacks=list(held.targets[1:]))
        if grant_id in self._refused:
            raise overloaded(None, self.rules.overload)
        if waiter is None:
            return None
        if now - waiter.joined >= self.rules.overload.wait_s:
            self._refuse(waiter, "waited")
            raise overloaded(waiter.model, self.rules.overload)
        return TurnAnswer(turn=self._turn(waiter, now))

    def requeue(self, question: Question, now: float) -> TurnAnswer:
        """A job asks for its turn that waited before this process began, or was given up.

        Raises ProblemError as `decide` does.
        """
        self.occupancy.release(question.grant.id)
        decision = self.decide(question, now)
        if decision.turn is not None:
            return TurnAnswer(turn=decision.turn)
        return TurnAnswer(engine=decision.targets[0], fallbacks=list(decision.targets[1:]))

    def adopt(self, grant: OpenGrant, now: float) -> None:
        """A job that was granted before this process began: at which engine is not known, so
        it counts at the one where it would go now."""
        places = self.rules.models.get(grant.model)
        if places is None or grant.lease_until <= now:
            return
        try:
            found = self.placer.place(places, ANY, now, bounded=False)
        except ProblemError:
            return
        if isinstance(found, Placed):
            self._take(grant, places, found, now).adopted = True

    def ended(self, grant_id: str, now: float) -> Held | None:
        """The job of a grant has ended, or never was; returns where it was."""
        self.waiting.leave(grant_id)
        self._called.pop(grant_id, None)
        held = self.occupancy.release(grant_id)
        if held is not None and len(self.waiting):
            self._advance(now)
        return held

    def tick(self, now: float) -> None:
        """What time alone brings about; to be called some times a second."""
        for grant_id in self.occupancy.expired(now):
            self.occupancy.release(grant_id)
            self._called.pop(grant_id, None)
        for grant_id, waiter in list(self._called.items()):
            if waiter.is_late(now, LATE_GRACE_S):
                del self._called[grant_id]
                self.occupancy.release(grant_id)
                self.waiting.join(waiter)
        for waiter in list(self.waiting):
            if now - waiter.seen > self._ttl:
                self._refuse(waiter, "left")
        if len(self.waiting):
            self._advance(now)

    # Placing.

    def _try(
        self, places: ModelPlaces, question: Question, candidates: list[Candidate], now: float
    ) -> Placed | Full:
        """Nobody overtakes those who wait for the same engines: then it queues up as they do,
        and may be the next one."""
        found = self.placer.find(places, question.job, candidates)
        if isinstance(found, Full):
            return found
        if not self._contended(places):
            self._take(question.grant, places, found, now, question.job)
            return found
        self.waiting.join(self._waiter(places, question, now))
        self._advance(now)
        held = self.occupancy.get(question.grant.id)
        if held is None:
            return Full(found.targets, may_wait=True)
        self._called.pop(question.grant.id, None)
        return Placed(held.targets, "queued")

    def _try_smaller(self, places: ModelPlaces, question: Question, now: float) -> Placed | None:
        if self._contended(places):
            return None
        try:
            found = self.placer.place(places, question.job, now)
        except ProblemError:
            return None
        if isinstance(found, Full):
            return None
        self._take(question.grant, places, found, now, question.job)
        return found

    def _take(
        self, grant: OpenGrant, places: ModelPlaces, found: Placed, now: float, job: Job = ANY
    ) -> Held:
        self.waiting.served(grant.user_id, now)
        return self.placer.take(grant, places, found, now, job)

    # Waiting.

    def _contended(self, places: ModelPlaces) -> bool:
        """Does anybody wait for one of its engines or their GPUs?"""
        if not len(self.waiting):
            return False
        return not self._rivals[places.id].isdisjoint(self.waiting.models)

    def _waiter(self, places: ModelPlaces, question: Question, now: float) -> Waiter:
        return Waiter(
            grant=question.grant,
            model=places.id,
            priority=self.rules.tier(question.tier).priority,
            job=question.job,
            joined=now,
            seen=now,
            ask_again_s=_ASK_SOON_S,
        )

    def _queue(
        self, places: ModelPlaces, question: Question, full: Full | Placed, now: float
    ) -> Decision:
        overload, grant_id = self.rules.overload, question.grant.id
        may_wait = not isinstance(full, Full) or full.may_wait
        if not (may_wait and overload.queue and self.rules.tier(question.tier).queue):
            self.waiting.leave(grant_id)
            self.counts.steps[(places.id, "refused")] += 1
            raise overloaded(places.id, overload)
        waiter = self.waiting.get(grant_id)
        if waiter is None:
            question.grant.model = places.id
            waiter = self._waiter(places, question, now)
            self.waiting.join(waiter)
        if self.waiting.length(places.id) > overload.queue:
            last = self.waiting.order(places.id, now)[-1]
            self._refuse(last, "queue_full")
            if last is waiter:
                self._refused.pop(grant_id, None)
                raise overloaded(places.id, overload)
        self.counts.steps[(places.id, "queued")] += 1
        decision = self.placer.shortened(question, places.id, full.targets, 1.0)
        return msgspec.structs.replace(decision, turn=self._turn(waiter, now))

    def _turn(self, waiter: Waiter, now: float) -> Turn:
        order = self.waiting.order(waiter.model, now)
        position = next(n for n, other in enumerate(order, 1) if other is waiter)
        waiter.ask_again_s = min(_ASK_MAX_S, _ASK_SOON_S + _ASK_PER_PLACE_S * (position - 1))
        return Turn(position=position, ask_again_s=waiter.ask_again_s)

    def _advance(self, now: float) -> None:
        """Gives places that are free to those who wait and still ask, the next one first."""
        orders: dict[str, list[Waiter]] = {}
        free = free_urls(self.rules, self.fleet, self.occupancy)
        for model in self.waiting.models if free else ():
            places = self.rules.models.get(model)
            if places is None or not any(seat.server.url in free for seat in places.seats):
                continue
            if self.placer.has_room(places, now):
                orders[model] = self._present(model, now)
        orders = {model: order for model, order in orders.items() if order}
        while orders:
            model = min(orders, key=lambda m: self.waiting.urgency(orders[m][0], now))
            waiter = orders[model].pop(0)
            if self._call(waiter, now):
                has_room = self.placer.has_room(self.rules.models[model], now)
                orders[model] = self._present(model, now) if has_room else []
            if not orders[model]:
                del orders[model]

    def _call(self, waiter: Waiter, now: float) -> bool:
        """Gives it a place, if there is one that it can take."""
        places = self.rules.models[waiter.model]
        try:
            found = self.placer.place(places, waiter.job, now)
        except ProblemError:
            return False
        if isinstance(found, Full):
            return False
        self.waiting.leave(waiter.grant.id)
        self._take(waiter.grant, places, found, now, waiter.job)
        self._called[waiter.grant.id] = waiter
        return True

    def _present(self, model: str, now: float) -> list[Waiter]:
        order = self.waiting.order(model, now)
        return [waiter for waiter in order if not waiter.is_late(now, LATE_GRACE_S)]

    def _refuse(self, waiter: Waiter, step: str) -> None:
        self.waiting.leave(waiter.grant.id)
        self.counts.steps[(waiter.model, step)] += 1
        self._refused[waiter.grant.id] = None
        if len(self._refused) > _TOLD_REMEMBERED:
            self._refused.popitem(last=False)
