"""Asks the engines how they are, beside the requests: a grant only looks at the last answer."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Final

import httpx

from contracts.grants import EngineTarget
from control_plane.fleet.asking import ask
from control_plane.health import Health, observe, probe_url
from control_plane.metrics import Metrics

log = logging.getLogger(__name__)

# An engine that computes on few cores answers late under load; one that died refuses at once.
PROBE_TIMEOUT_S: Final = 3.0


class EngineWatch:
    """What is known of every engine. `check` is one round; its owner says when."""

    def __init__(
        self,
        engines: Iterable[EngineTarget],
        client: httpx.AsyncClient,
        clock: Callable[[], float],
        metrics: Metrics,
    ) -> None:
        self._client = client
        self._clock = clock
        self._metrics = metrics
        self._states: dict[str, Health] = {}
        self.follow(engines)

    def follow(self, engines: Iterable[EngineTarget]) -> None:
        """These are all engines from now on; what is known of those that stay is kept."""
        urls = dict.fromkeys(probe_url(engine) for engine in engines)
        for url in self._states.keys() - urls:
            del self._states[url]
            self._metrics.engine_up.remove(url)
        for url in urls:
            if url not in self._states:
                self._states[url] = Health()
                self._metrics.engine_up.labels(url).set(1)

    @property
    def states(self) -> Mapping[str, Health]:
        """What is known, by the URL that is asked. A live view."""
        return MappingProxyType(self._states)

    def is_healthy(self, engine: EngineTarget) -> bool:
        """Whether jobs may go to the engine, as far as is known. Never waits."""
        return self.health(engine).healthy

    def health(self, engine: EngineTarget) -> Health:
        """What is known of the engine. Never waits."""
        return self._states.get(probe_url(engine), Health())

    async def look(self, url: str) -> None:
        """Asks at one URL."""
        self._note(url, await self._answers(url))

    async def check(self) -> None:
        """Asks every engine once, all at the same time."""
        urls = list(self._states)
        answers = await asyncio.gather(*(self._answers(url) for url in urls))
        for url, answered in zip(urls, answers, strict=True):
            self._note(url, answered)

    async def _answers(self, url: str) -> bool:
        status, _ = await ask(self._client, "GET", url, PROBE_TIMEOUT_S)
        return 200 <= status < 300

    def _note(self, url: str, answered: bool) -> None:
        before = self._states.get(url)
        if before is None:  # no engine any more since it was asked
            return
        after = self._states[url] = observe(before, answered, self._clock())
        self._metrics.engine_up.labels(url).set(after.healthy)
        if after.healthy != before.healthy:
            word = "up" if after.healthy else "down"
            log.warning("engine %s is %s", url, word, extra={"engine": url, "state": word})
