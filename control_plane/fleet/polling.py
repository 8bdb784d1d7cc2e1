"""Asks every engine how it is and what it has, each by tasks of its own: one that hangs delays
no other, and no grant, which looks only at what is known."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Final

import httpx

from contracts.grants import EngineTarget
from control_plane.continuation import read_answer, request_for
from control_plane.engines import EngineWatch
from control_plane.fleet.asking import ask
from control_plane.fleet.readings import (
    Powers,
    context_of_show,
    is_llamacpp,
    load_of,
    offer_of_ollama,
    offer_of_openai,
    powers_of_props,
    powers_of_show,
)
from control_plane.fleet.seats import Server
from control_plane.fleet.servers import Fleet
from control_plane.health import probe_url

log = logging.getLogger(__name__)

HEALTH_EVERY_S: Final = 0.5
LOAD_EVERY_S: Final = 0.5
# A health check unanswered for so long: nobody should begin to wait there.
SILENT_S: Final = 2.0
SILENT_WAITS: Final = 2
# What an engine has changes seldom.
OFFER_EVERY_S: Final = 5.0
# Whether vLLM was started to call tools is seen only by asking it to.
TOOLS_EVERY_S: Final = 60.0
READ_S: Final = 2.0
TRIAL_S: Final = 10.0
WARM_S: Final = 180.0
KEEP_ALIVE: Final = "30m"

_PROBED_TOOL: Final = {
    "type": "function",
    "function": {"name": "now", "parameters": {"type": "object", "properties": {}}},
}
# These refuse for good; what else goes wrong is of the moment.
_REFUSALS: Final = frozenset({400, 405, 422, 501})


class Poller:
    """The tasks. `held` tells how many of our jobs are at an engine; `cold` gives and forgets
    the engines that should load a model. `tend` starts and ends tasks as engines come and go;
    `aclose` ends all."""

    def __init__(
        self,
        fleet: Fleet,
        watch: EngineWatch,
        client: httpx.AsyncClient,
        clock: Callable[[], float],
        held: Callable[[str], int],
        cold: Callable[[], list[EngineTarget]],
    ) -> None:
        self._fleet = fleet
        self._watch = watch
        self._client = client
        self._clock = clock
        self._held = held
        self._cold = cold
        self._targets: dict[str, list[EngineTarget]] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._warming: dict[str, asyncio.Task[None]] = {}
        self._hurry: dict[str, asyncio.Event] = {}
        self._offers_at: dict[str, float] = {}
        self._tools_at: dict[tuple[str, str], float] = {}
        self._llamacpp: set[str] = set()

    def follow(self, targets: list[EngineTarget]) -> None:
        """These are all engines and their models from now on."""
        self._targets = {}
        for target in targets:
            self._targets.setdefault(target.base_url.rstrip("/"), []).append(target)

    async def tend(self) -> None:
        """Starts what is missing and ends what is over."""
        wanted: dict[str, Callable[[], Coroutine[Any, Any, None]]] = {}
        for url, targets in self._targets.items():
            wanted[f"load of {url}"] = partial(self._every, LOAD_EVERY_S, self.look, url)
            for probe in dict.fromkeys(probe_url(target) for target in targets):
                wanted[f"health at {probe}"] = partial(self._tend_health, url, probe)
        for name in self._tasks.keys() - wanted.keys():
            self._tasks.pop(name).cancel()
        for name, run in wanted.items():
            if name not in self._tasks or self._tasks[name].done():
                self._tasks[name] = asyncio.create_task(run(), name=name)
        self._warm()

    async def aclose(self) -> None:
        """Ends every task."""
        tasks = [*self._tasks.values(), *self._warming.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def confirm(self, base_url: str) -> None:
        """Checks an engine's health at once: a broker could not reach it."""
        for probe, event in self._hurry.items():
            if probe.startswith(f"{base_url.rstrip('/')}/"):
                event.set()

    async def check(self, url: str, probe: str) -> None:
        """One health check of the engine at `url`."""
        fleet = self._fleet
        before = self._watch.states.get(probe)
        fleet.asked(url, self._clock())
        await self._look(url, probe)
        after = self._watch.states.get(probe)
        if after is None or not after.failures:
            fleet.answered(url)
        if before is None or after is None:
            return
        if after.failures:
            fleet.check_failed(url, self._clock())
        if before.healthy != after.healthy:
            fleet.health_changed(probe, after.healthy, self._clock())

    async def _look(self, url: str, probe: str) -> None:
        looking = asyncio.create_task(self._watch.look(probe), name=f"health at {probe}")
        try:
            # Several waits: one that was over before this process was woken says nothing.
            for _ in range(SILENT_WAITS):
                if (await asyncio.wait([looking], timeout=SILENT_S / SILENT_WAITS))[0]:
                    break
            else:
                self._fleet.fell_silent(url)
            await looking
        finally:
            looking.cancel()

    async def look(self, url: str) -> None:
        """What an engine has to do, and now and then what it has; tries it after failures."""
        server, targets = self._fleet.servers.get(url), self._targets.get(url)
        if server is None or not targets or not self._watch.is_healthy(targets[0]):
            return
        now = self._clock()
        if not 0 <= now - self._offers_at.get(url, -OFFER_EVERY_S) < OFFER_EVERY_S:
            self._offers_at[url] = now
            await self._look_at_offer(server, targets)
        if server.kind == "vllm":
            _, metrics = await self._get(url, "/metrics")
            self._fleet.observed(url, load_of(metrics), self._held(url))
        elif server.kind == "ollama":
            _, ps = await self._get(url, "/api/ps")
            loaded = offer_of_ollama(None, ps)
            self._fleet.loaded(url, loaded.loaded, loaded.contexts)
        for model in self._fleet.due_trials(url, self._clock()):
            await self._try(server, model)

    async def _look_at_offer(self, server: Server, targets: list[EngineTarget]) -> None:
        url = server.url
        if server.kind == "vllm":
            _, models = await self._get(url, "/v1/models")
            _, props = await self._get(url, "/props")
            self._fleet.offered(url, offer_of_openai(models, props))
            if is_llamacpp(props):
                self._fleet.empowered(url, "", powers_of_props(props))
            elif models:
                for target in targets:
                    await self._try_tools(target)
        elif server.kind == "ollama":
            _, tags = await self._get(url, "/api/tags")
            _, ps = await self._get(url, "/api/ps")
            self._fleet.offered(url, offer_of_ollama(tags, ps))
            for target in targets:
                body = {"model": target.model}
                status, show = await ask(self._client, "POST", f"{url}/api/show", READ_S, body)
                if status == 200:
                    self._fleet.empowered(url, target.model, powers_of_show(show))
                    self._fleet.limited(url, target.model, context_of_show(show))

    async def _try_tools(self, target: EngineTarget) -> None:
        key, now = (target.base_url, target.model), self._clock()
        if 0 <= now - self._tools_at.get(key, -TOOLS_EVERY_S) < TOOLS_EVERY_S:
            return
        self._tools_at[key] = now
        url, body = request_for(target, "bare")
        body |= {"tools": [_PROBED_TOOL], "tool_choice": "auto"}
        status, answer = await ask(self._client, "POST", url, TRIAL_S, body)
        if status in _REFUSALS:
            found = Powers(unable=frozenset({"tools"}))
        elif status == 200 and read_answer(target, status, answer).ended:
            found = Powers(able=frozenset({"tools"}))
        else:
            return
        self._fleet.empowered(target.base_url.rstrip("/"), target.model, found)

    async def _try(self, server: Server, model: str) -> None:
        """One token, in place of a job that might fail there."""
        if server.kind == "tf_serving":
            return
        key = (server.url, model)
        self._fleet.begin_trial(key, self._clock())
        target = EngineTarget(kind=server.kind, base_url=server.url, model=model)
        url, body = request_for(target, "bare")
        status, answer = await ask(self._client, "POST", url, TRIAL_S, body)
        success = read_answer(target, status, answer).ended
        self._fleet.end_trial(key, success, self._clock())
        log.info("engine %s, %s: tried, %s", server.url, model, "well" if success else "in vain")

    def _warm(self) -> None:
        """Loads models in the background, one at a time at each engine."""
        self._warming = {url: task for url, task in self._warming.items() if not task.done()}
        for target in self._cold():
            url = target.base_url.rstrip("/")
            # Where jobs are, another model might have to make room for it.
            if url not in self._warming and not self._held(url):
                self._warming[url] = asyncio.create_task(self._load(target), name=f"warming {url}")

    async def _load(self, target: EngineTarget) -> None:
        url = f"{target.base_url.rstrip('/')}/api/generate"
        body = {"model": target.model, "keep_alive": KEEP_ALIVE, "stream": False}
        status, _ = await ask(self._client, "POST", url, WARM_S, body)
        log.info("engine %s: loading %s answered %d", target.base_url, target.model, status)

    async def _get(self, url: str, path: str) -> tuple[int, bytes]:
        status, body = await ask(self._client, "GET", f"{url}{path}", READ_S)
        return status, body if status == 200 else b""

    async def _tend_health(self, url: str, probe: str) -> None:
        hurry = self._hurry.setdefault(probe, asyncio.Event())
        try:
            await self._every(HEALTH_EVERY_S, self.check, url, probe, hurry=hurry)
        finally:
            self._hurry.pop(probe, None)

    async def _every(
        self,
        interval_s: float,
        action: Callable[..., Coroutine[Any, Any, None]],
        *arguments: str,
        hurry: asyncio.Event | None = None,
    ) -> None:
        wake = hurry or asyncio.Event()
        while True:
            try:
                await action(*arguments)
            except Exception:
                log.exception("asking the engine %s failed", arguments[0])
            wake.clear()
            try:
                async with asyncio.timeout(interval_s):
                    await wake.wait()
            except TimeoutError:
                continue
