"""Finds out which engines go on behind a text, beside requests and health checks.

A probe is a handful of requests of one token each, once for every time that an engine
comes up. Whatever it meets, it says nothing about the engine's health.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Final

import httpx
import msgspec

from contracts.grants import EngineTarget
from contracts.policy import PolicyModel
from control_plane.continuation import (
    Answer,
    Capability,
    Form,
    forms_for,
    is_loaded,
    read_answer,
    request_for,
    verdict,
)
from control_plane.fleet.asking import ask
from control_plane.health import Health
from control_plane.identity import identity_of, questions
from control_plane.metrics import Metrics
from control_plane.proofs import (
    PROBE_S,
    Proof,
    Proven,
    attempted,
    due,
    is_tried,
    known,
    patience,
    postponed,
    recalled,
    recognized,
    seen,
)
from control_plane.store.proven import Which, which

log = logging.getLogger(__name__)

# What an engine says of itself it says at once.
IDENTITY_S: Final = 2.0
# A first attempt has ended by then.
LOOK_S: Final = IDENTITY_S + PROBE_S[0] + 1.0
ANSWER_MAX: Final = 256 << 10
# A page, or none: what else is answered may be of the moment.
_TELLING: Final = frozenset({200, 404})


class Prober:
    """What has been proven of every engine. `check` is one round; its owner says when, and
    `aclose` ends all of them.

    `health` tells how an engine is; `clock` gives Unix seconds; `keep` is called with what was
    found out, for `recall` of the next process.
    """

    def __init__(
        self,
        engines: Iterable[EngineTarget],
        client: httpx.AsyncClient,
        health: Callable[[EngineTarget], Health],
        clock: Callable[[], float],
        metrics: Metrics,
        keep: Callable[[EngineTarget, Proven], Awaitable[None]],
    ) -> None:
        self._client = client
        self._keep = keep
        self._health = health
        self._clock = clock
        self._metrics = metrics
        self._proofs: dict[EngineTarget, Proof] = {}
        # By engine and when it came up: another time is another engine.
        self._running: dict[tuple[EngineTarget, float | None], asyncio.Task[None]] = {}
        self.follow(engines)

    def follow(self, engines: Iterable[EngineTarget]) -> None:
        """These are all engines from now on; what is known of those that stay is kept."""
        wanted = dict.fromkeys(engine for engine in engines if forms_for(engine))
        self._proofs = {engine: self._proofs.get(engine, Proof()) for engine in wanted}

    def recall(self, kept: Mapping[Which, Proven]) -> None:
        """What the process before this one has found out of the engines that are followed."""
        for engine in self._proofs:
            if proven := kept.get(which(engine)):
                self._proofs[engine] = recalled(proven)

    def proven(self, engine: EngineTarget) -> EngineTarget:
        """The engine with what is known of it. Never waits; may be asked in any thread."""
        bare = msgspec.structs.replace(engine, continues=False, trims=False)
        found = known(self._proofs.get(bare, Proof()), self._health(bare))
        return msgspec.structs.replace(bare, continues=found.continues, trims=found.trims)

    def proven_models(self, models: Iterable[PolicyModel]) -> list[PolicyModel]:
        """The models with what is known of their engines."""
        return [
            msgspec.structs.replace(model, engines=[self.proven(e) for e in model.engines])
            for model in models
        ]

    @property
    def untried(self) -> list[EngineTarget]:
        """Engines that are up and have not been probed since, and of which nothing is kept."""
        waiting = []
        for engine, proof in self._proofs.items():
            health = self._health(engine)
            if health.healthy and not is_tried(proof, health):
                waiting.append(engine)
        return waiting

    async def check(self) -> None:
        """Probes the engines that are due, all at the same time, and waits for them for as long as
        a first attempt may take. Who takes longer goes on, and holds up no other."""
        now = self._clock()
        begun = []
        for engine in self._proofs:
            health = self._health(engine)
            proof = self._proofs[engine] = seen(self._proofs[engine], health)
            if (engine, health.since) not in self._running and due(proof, health, now):
                task = asyncio.create_task(self._prove(engine, proof, health))
                self._running[engine, health.since] = task
                begun.append(task)
        if begun:
            await asyncio.wait(begun, timeout=LOOK_S)
        over = [key for key, task in self._running.items() if task.done()]
        for task in [self._running.pop(key) for key in over]:
            task.result()

    async def aclose(self) -> None:
        """Ends the probes that are under way."""
        for task in self._running.values():
            task.cancel()
        await asyncio.gather(*self._running.values(), return_exceptions=True)

    async def _prove(self, engine: EngineTarget, proof: Proof, health: Health) -> None:
        identity = await self._identity(engine)
        if (known_now := self._same(engine, health)) is None:
            return
        self._learn(engine, health, recognized(known_now, health, identity))
        loaded = await self._loaded(engine)
        found = await self._probe(engine, patience(proof, health)) if loaded else None
        if (known_now := self._same(engine, health)) is None:
            return
        if not loaded:
            self._proofs[engine] = postponed(known_now, health, self._clock())
            return
        proven = None if found is None else Proven(found, identity)
        self._learn(engine, health, attempted(known_now, health, proven, self._clock()))
        log.info("engine %s, %s: %s", engine.base_url, engine.model, found or "not proven")
        if proven is not None:
            await self._keep(engine, proven)

    def _learn(self, engine: EngineTarget, health: Health, proof: Proof) -> None:
        self._proofs[engine] = proof
        continues = known(proof, health).continues
        self._metrics.engine_continues.labels(engine.base_url, engine.model).set(continues)

    def _same(self, engine: EngineTarget, health: Health) -> Proof | None:
        """What is known by now; None if it is no engine any more, or was away, since then."""
        same = self._health(engine).since == health.since
        return self._proofs.get(engine) if same else None

    async def _identity(self, engine: EngineTarget) -> str | None:
        base = engine.base_url.rstrip("/")
        paths = questions(engine)
        asked = (ask(self._client, "GET", f"{base}{path}", IDENTITY_S) for path in paths)
        answers = await asyncio.gather(*asked)
        if any(status not in _TELLING for status, _ in answers):
            return None
        pages = (body if status == 200 else b"" for status, body in answers)
        return identity_of(engine, dict(zip(paths, pages, strict=True)))

    async def _loaded(self, engine: EngineTarget) -> bool:
        """Ollama loads a model when it is asked for: not for a probe, which might put
        another model out of the GPU's memory."""
        if engine.kind != "ollama":
            return True
        url = f"{engine.base_url.rstrip('/')}/api/ps"
        try:
            response = await self._client.get(url, timeout=LOOK_S)
        except (httpx.HTTPError, httpx.InvalidURL):
            return False
        return is_loaded(engine.model, response.content)

    async def _probe(self, engine: EngineTarget, within: float) -> Capability | None:
        """None when the answers decide nothing: a bad moment. `within` seconds for all forms."""
        seen: dict[Form, Answer] = {}
        try:
            async with asyncio.timeout(within):
                for form in forms_for(engine):
                    seen[form] = answer = await self._ask(engine, form, within)
                    if form == "once" and not answer.decides:
                        return None
        except (TimeoutError, httpx.HTTPError, httpx.InvalidURL) as error:
            log.info("engine %s was not probed: %r", engine.base_url, error)
            return None
        return verdict(seen)

    async def _ask(self, engine: EngineTarget, form: Form, within: float) -> Answer:
        url, body = request_for(engine, form)
        read = b""
        # llama.cpp closes after a stream although it promises to keep the connection.
        headers = {"Connection": "close"}
        asked = self._client.stream("POST", url, json=body, headers=headers, timeout=within)
        async with asked as response:
            async for piece in response.aiter_bytes():
                read += piece
                if len(read) > ANSWER_MAX:
                    break
        return read_answer(engine, response.status_code, read)
