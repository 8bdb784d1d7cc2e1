"""What is known of every engine, and of each model on it. Pure: time is an argument.

An engine is a server, named by its base URL; several models may be on one. Its health is
asked for elsewhere (`control_plane/engines.py`) and only looked up here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

from contracts.grants import EngineFault, EngineReport, EngineTarget
from control_plane.fleet.breaker import (
    Breaker,
    failed,
    may_try,
    opened,
    state_of,
    succeeded,
    tried,
)
from control_plane.fleet.flapping import Flaps, changed, is_held
from control_plane.fleet.readings import Load, Offer, Powers, names_of
from control_plane.fleet.seats import Condition, Seat, Server, url_of
from control_plane.health import Health, probe_url

# An engine that leaves a health check unanswered for longer gets no job that another can take.
LATE_S: Final = 1.0
# A settlement that tells of a fault which its broker has just reported is no second one.
_SAME_FAULT_S: Final = 5.0
_UNREACHABLE_S: Final = 5.0
_NO_HEALTH: Final = Health()
_NO_FLAPS: Final = Flaps()
_NO_BREAKER: Final = Breaker()
_NO_POWERS: Final = Powers()


class Fleet:
    """All engines. `states`: what the health checks say, by the URL that is asked."""

    def __init__(self, states: Mapping[str, Health]) -> None:
        self.servers: dict[str, Server] = {}
        self.faults: dict[tuple[str, EngineFault], int] = {}
        self._states = states
        self._breakers: dict[tuple[str, str], Breaker] = {}
        self._flaps: dict[str, Flaps] = {}
        self._reported: dict[tuple[str, str, str], float] = {}
        self.drained: frozenset[str] = frozenset()
        self._seated: set[tuple[str, str]] = set()

    def seats(
        self, targets: Iterable[EngineTarget], contexts: Sequence[int] = ()
    ) -> tuple[Seat, ...]:
        """The places of a model, in its order of preference; engines are met here.
        `contexts`: what the inventory says of each, in tokens."""
        found: list[Seat] = []
        rank = -1
        for number, target in enumerate(targets):
            if not found or found[-1].target.kind != target.kind:
                rank += 1
            # One shot has no context that grows.
            told = contexts[number] if contexts and target.kind != "tf_serving" else None
            self._seated.add((url_of(target), target.model))
            found.append(Seat(target, self._meet(target), probe_url(target), rank, told))
        return tuple(found)

    def keep(self, urls: Iterable[str]) -> None:
        """Forgets every engine but these: the policy does not name it any more."""
        kept = set(urls)
        self.servers = {url: server for url, server in self.servers.items() if url in kept}
        self._seated = {key for key in self._seated if key[0] in kept}
        self._breakers = {key: b for key, b in self._breakers.items() if key[0] in kept}

    def _meet(self, target: EngineTarget) -> Server:
        url = url_of(target)
        server = self.servers.get(url)
        if server is None:
            server = self.servers[url] = Server(url=url, name="", kind=target.kind)
        server.name = server.name or target.name or url
        return server

    def condition(self, seat: Seat, now: float) -> Condition:
        """Whether jobs of the model may go there; `trial`: one may, to try it."""
        server = seat.server
        if self.drained and seat.name in self.drained:
            return "drained"
        if not self._states.get(seat.probe, _NO_HEALTH).healthy:
            return "down"
        if self._flaps and is_held(self._flaps.get(seat.probe, _NO_FLAPS), now):
            return "flapping"
        models = server.offer.models
        if models is not None and not models & names_of(seat.target.model):
            return "absent"
        breaker = self._breakers.get(seat.key) if self._breakers else None
        if breaker is None or breaker.opened_at is None:
            return "up"
        # A request of one token tries it, where one can be made: no job is risked.
        one_shot = server.kind == "tf_serving"
        return "trial" if one_shot and may_try(breaker, now) else "failing"

    def is_late(self, server: Server, now: float) -> bool:
        """Has it left a health check unanswered for too long?"""
        return server.asked_at is not None and now - server.asked_at > LATE_S

    def is_cold(self, seat: Seat) -> bool:
        """Would the engine have to load the model first?"""
        loaded = seat.server.offer.loaded
        return loaded is not None and not loaded & names_of(seat.target.model)

    def context_of(self, seat: Seat) -> int | None:
        """Tokens that fit, as the inventory and the engine tell; None: neither does."""
        contexts = seat.server.offer.contexts
        if not contexts:
            return seat.context
        told = [contexts[name] for name in names_of(seat.target.model) if name in contexts]
        told += [limit for limit in (contexts.get(""), seat.context) if limit is not None]
        return min(told, default=None)

    def powers_of(self, seat: Seat) -> Powers:
        """What the model can there."""
        powers = seat.server.powers
        if not powers:
            return _NO_POWERS
        return powers.get(seat.target.model) or powers.get("") or _NO_POWERS

    # What pollers saw.

    def asked(self, url: str, now: float) -> None:
        """A health check was sent."""
        server = self.servers.get(url)
        if server is not None and server.asked_at is None:
            server.asked_at = now

    def answered(self, url: str) -> None:
        """It was answered well."""
        if (server := self.servers.get(url)) is not None:
            server.asked_at, server.silent = None, False

    def fell_silent(self, url: str) -> None:
        """A health check is unanswered for long."""
        if (server := self.servers.get(url)) is not None:
            server.silent = True

    def observed(self, url: str, load: Load, held: int) -> None:
        """The load of an engine where `held` of our jobs are. What is more in two looks one
        after the other is somebody else's: a job that has just ended shows in one of them."""
        if (server := self.servers.get(url)) is None:
            return
        told = (load.running or 0) + (load.waiting or 0)
        spare = max(0, told - held)
        server.others, server.others_seen = min(spare, server.others_seen), spare
        server.load = load

    def offered(self, url: str, offer: Offer) -> None:
        """What an engine has."""
        if (server := self.servers.get(url)) is not None:
            server.offer = offer

    def loaded(self, url: str, models: frozenset[str] | None, contexts: Mapping[str, int]) -> None:
        """The models that an engine has in memory, with the contexts they were loaded with."""
        if (server := self.servers.get(url)) is not None:
            told = server.offer.contexts | dict(contexts)
            server.offer = msgspec.structs.replace(server.offer, loaded=models, contexts=told)

    def limited(self, url: str, model: str, context: int | None) -> None:
        """The longest context of a model, unless it is loaded with another."""
        server = self.servers.get(url)
        if server is not None and context is not None:
            told = {model: context} | server.offer.contexts
            server.offer = msgspec.structs.replace(server.offer, contexts=told)

    def empowered(self, url: str, model: str, powers: Powers) -> None:
        """What a model can there; "" for whatever it has."""
        if (server := self.servers.get(url)) is not None:
            server.powers[model] = powers

    def health_changed(self, probe: str, healthy: bool, now: float) -> None:
        """A health check says something else than the one before."""
        self._flaps[probe] = changed(self._flaps.get(probe, Flaps()), healthy, now)

    def check_failed(self, url: str, now: float) -> None:
        """A health check has failed; a broker may have said so before, and is believed now."""
        server = self.servers.get(url)
        if server is None or server.unreachable_at is None:
            return
        if 0 <= now - server.unreachable_at < _UNREACHABLE_S:
            for key in [key for key in self._breakers if key[0] == url]:
                if state_of(self._breakers[key], now) != "open":
                    self._breakers[key] = opened(self._breakers[key], now)
        server.unreachable_at = None

    # What brokers saw.

    def reported(self, report: EngineReport, now: float) -> bool:
        """An attempt has failed; False for an engine that nobody knows."""
        node, url = report.node, report.base_url.rstrip("/")
        model, fault = report.model, report.fault
        server = self.servers.get(url)
        if server is None or (url, model) not in self._seated:
            return False
        self._reported[(node, url, model)] = now
        if len(self._reported) > 1024:
            del self._reported[next(iter(self._reported))]
        if fault == "engine_unreachable":
            server.unreachable_at = now
        self._fault(url, model, fault, now)
        return True

    def job_failed(self, node: str, seat: tuple[str, str], fault: EngineFault, now: float) -> None:
        """A job ended by the engine's fault, as its settlement says."""
        url, model = seat
        last = self._reported.get((node, url, model))
        if url in self.servers and (last is None or not 0 <= now - last < _SAME_FAULT_S):
            self._fault(url, model, fault, now)

    def was_reported(self, node: str, seat: tuple[str, str], since: float) -> bool:
        """Has the broker on `node` told of a failure there since then?"""
        last = self._reported.get((node, *seat))
        return last is not None and last >= since

    def job_succeeded(self, seat: tuple[str, str], now: float, *, trial: bool = False) -> None:
        """A job ended as it should; `trial`: it was the one that tried the engine."""
        if seat[0] in self.servers:
            self._breakers[seat] = succeeded(
                self._breakers.get(seat, _NO_BREAKER), now, trial=trial
            )

    def _fault(self, url: str, model: str, fault: EngineFault, now: float) -> None:
        self.faults[(url, fault)] = self.faults.get((url, fault), 0) + 1
        self._breakers[(url, model)] = failed(self._breakers.get((url, model), _NO_BREAKER), now)

    # Trials.

    def due_trials(self, url: str, now: float) -> list[str]:
        """Models on an engine that a request of one token should try now."""
        return [
            key[1]
            for key, breaker in self._breakers.items()
            if key[0] == url and may_try(breaker, now)
        ]

    def begin_trial(self, key: tuple[str, str], now: float) -> None:
        """It is under way."""
        self._breakers[key] = tried(self._breakers.get(key, _NO_BREAKER), now)

    def end_trial(self, key: tuple[str, str], success: bool, now: float) -> None:
        """It has ended."""
        breaker = self._breakers.get(key, _NO_BREAKER)
        after = succeeded(breaker, now, trial=True) if success else failed(breaker, now)
        self._breakers[key] = after

    def breakers(self, now: float) -> dict[tuple[str, str], str]:
        """State of each by (URL, model)."""
        return {key: state_of(breaker, now) for key, breaker in self._breakers.items()}

    # What operators say.

    def set_drained(self, names: Iterable[str]) -> None:
        """Exactly the engines of these names get no new job."""
        self.drained = frozenset(names)
