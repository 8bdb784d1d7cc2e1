"""Finds out which engines go on behind a text, beside requests and health checks.

A probe is a handful of requests of one token each, once for every time that an engine
comes up. Whatever it meets, it says nothing about the engine's health.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
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
from control_plane.health import Health
from control_plane.metrics import Metrics
from control_plane.proofs import Proof, attempted, due, known, postponed

log = logging.getLogger(__name__)

# For all forms together; the first one may have to wait for running generations.
PROBE_S: Final = 15.0
ANSWER_MAX: Final = 256 << 10


class Prober:
    """What has been proven of every engine. `check` is one round; its owner says when.

    `health` tells how an engine is; `clock` gives Unix seconds.
    """

    def __init__(
        self,
        engines: Iterable[EngineTarget],
        client: httpx.AsyncClient,
        health: Callable[[EngineTarget], Health],
        clock: Callable[[], float],
        metrics: Metrics,
    ) -> None:
        self._client = client
        self._health = health
        self._clock = clock
        self._metrics = metrics
        self._proofs: dict[EngineTarget, Proof] = {}
        self.follow(engines)

    def follow(self, engines: Iterable[EngineTarget]) -> None:
        """These are all engines from now on; what is known of those that stay is kept."""
        wanted = dict.fromkeys(engine for engine in engines if forms_for(engine))
        self._proofs = {engine: self._proofs.get(engine, Proof()) for engine in wanted}

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
        """Engines that are up and have not been probed since."""
        waiting = []
        for engine, proof in self._proofs.items():
            health = self._health(engine)
            if health.healthy and (health.since is None or proof.since != health.since):
                waiting.append(engine)
        return waiting

    async def check(self) -> None:
        """Probes the engines that are due, all at the same time."""
        now = self._clock()
        asked = [e for e, proof in self._proofs.items() if due(proof, self._health(e), now)]
        # All are waited for, also when this is cancelled: they share the client.
        for result in await asyncio.gather(*map(self._prove, asked), return_exceptions=True):
            if isinstance(result, BaseException):
                raise result

    async def _prove(self, engine: EngineTarget) -> None:
        health = self._health(engine)
        loaded = await self._loaded(engine)
        found = await self._probe(engine) if loaded else None
        proof = self._proofs.get(engine)
        if proof is None:  # no engine any more since it was asked
            return
        if not loaded:
            self._proofs[engine] = postponed(proof, health, self._clock())
            return
        self._proofs[engine] = attempted(proof, health, found, self._clock())
        continues = found is not None and found.continues
        self._metrics.engine_continues.labels(engine.base_url, engine.model).set(continues)
        log.info("engine %s, %s: %s", engine.base_url, engine.model, found or "not proven")

    async def _loaded(self, engine: EngineTarget) -> bool:
        """Ollama loads a model when it is asked for: not for a probe, which might put
        another model out of the GPU's memory."""
        if engine.kind != "ollama":
            return True
        url = f"{engine.base_url.rstrip('/')}/api/ps"
        try:
            response = await self._client.get(url, timeout=PROBE_S)
        except (httpx.HTTPError, httpx.InvalidURL):
            return False
        return is_loaded(engine.model, response.content)

    async def _probe(self, engine: EngineTarget) -> Capability | None:
        """None when the answers decide nothing: a bad moment."""
        seen: dict[Form, Answer] = {}
        try:
            async with asyncio.timeout(PROBE_S):
                for form in forms_for(engine):
                    seen[form] = answer = await self._ask(engine, form)
                    if form == "once" and not answer.decides:
                        return None
        except (TimeoutError, httpx.HTTPError, httpx.InvalidURL) as error:
            log.info("engine %s was not probed: %r", engine.base_url, error)
            return None
        return verdict(seen)

    async def _ask(self, engine: EngineTarget, form: Form) -> Answer:
        url, body = request_for(engine, form)
        read = b""
        # llama.cpp closes after a stream although it promises to keep the connection.
        headers = {"Connection": "close"}
        asked = self._client.stream("POST", url, json=body, headers=headers, timeout=PROBE_S)
        async with asked as response:
            async for piece in response.aiter_bytes():
                read += piece
                if len(read) > ANSWER_MAX:
                    break
        return read_answer(engine, response.status_code, read)
