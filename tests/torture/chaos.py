"""Kills, stops and drains the processes of a running cluster, at most one at a time."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from okome.control import ask
from okome.errors import OkomeError
from okome.paths import Paths
from tests.support.eventually import eventually_async
from tests.torture.book import Book
from tests.torture.processes import Series

_WHOLE_S = 40.0
_LOOK_S = 0.25
Act = Callable[[], Any]


class Operator:
    """Asks the supervisor, without a process for every question."""

    def __init__(self, paths: Paths) -> None:
        self._paths = paths

    async def ask(self, op: str, target: str | None = None) -> dict[str, Any]:
        """As `okome OP TARGET`. Raises OkomeError."""
        question = {"op": op} | ({"target": target} if target else {})
        return await asyncio.to_thread(ask, self._paths, question)

    async def nodes(self) -> list[dict[str, Any]]:
        """`okome status --json`, its nodes."""
        nodes: list[dict[str, Any]] = (await self.ask("status"))["nodes"]
        return nodes

    async def node(self, process: str) -> dict[str, Any]:
        """One process of them."""
        return next(node for node in await self.nodes() if node["process"] == process)

    async def whole(self) -> bool:
        """Waits until everything is healthy. Returns whether it ever was."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + _WHOLE_S
        while loop.time() < deadline:
            with suppress(OkomeError):
                if all(node["healthy"] for node in await self.nodes()):
                    return True
            await asyncio.sleep(_LOOK_S)
        return False


class UnknownMisfortune(ValueError):
    """None has a name that begins so."""


class Chaos:
    """One misfortune after the other. `spared` is a broker that nothing happens to.

    `engine` kills an engine that is not the supervisor's, and starts it again. `only`: how the
    names of those begin that happen; all do without it. `drained`: seconds that a drain may take.
    """

    def __init__(
        self,
        operator: Operator,
        book: Book,
        spared: str,
        pause: tuple[float, float],
        engine: Act | None,
        say: Callable[[str], None],
        drained: float,
        only: tuple[str, ...] = (),
    ) -> None:
        self._operator = operator
        self._book = book
        self._drained = drained
        self._only = only
        self._spared = spared
        self._pause = pause
        self._engine = engine
        self._say = say
        self._enough = asyncio.Event()

    def end(self) -> None:
        """Nothing more happens after the misfortune that is under way."""
        self._enough.set()

    async def run(self) -> None:
        """Until `end`; at the end of each misfortune everything is whole again.

        Never cancel it: a process that was stopped would stay so.
        """
        while not self._enough.is_set():
            for name, act in self._round(await self._operator.nodes()):
                if await self._over(random.uniform(*self._pause)):
                    return
                self._say(name)
                self._book.counts[name.partition(" ")[0]] += 1
                await act()
                if not await self._operator.whole():
                    self._book.violation("not_whole", f"40 s after: {name}")

    async def _over(self, pause: float) -> bool:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._enough.wait(), pause)
        return self._enough.is_set()

    async def roll(self) -> None:
        """One rolling restart: every broker in turn, the next one when the last is back."""
        for node in await self._operator.nodes():
            if node["role"] == "stream":
                await asyncio.sleep(random.uniform(*self._pause))
                self._say(f"stream-drained {node['name']}")
                self._book.counts["stream-drained"] += 1
                await self.drain(node["process"])
                if not await self._operator.whole():
                    self._book.violation("not_whole", f"40 s after: {node['name']}")
        await asyncio.sleep(self._pause[1])

    def _round(self, nodes: list[dict[str, Any]]) -> list[tuple[str, Act]]:
        """Everything once, in any order."""
        acts: list[tuple[str, Act]] = []
        for node in nodes:
            name, role = node["process"], node["role"]
            if name == self._spared and role == "stream":
                continue
            if role == "core_gpu":
                acts.append(("engine-killed", lambda n=name: self._kill_engine(n)))
                continue
            acts.append((f"{role}-killed {name}", lambda n=name: self._kill(n)))
            if role == "stream":
                acts.append((f"{role}-drained {name}", lambda n=name: self.drain(n)))
                acts.append((f"{role}-hung {name}", lambda n=name: self._hang(n)))
                acts.append((f"{role}-stopped {name}", lambda n=name: self._stop(n)))
        if self._only:
            known = sorted({name for name, _ in acts})
            acts = [(name, act) for name, act in acts if name.startswith(self._only)]
            if not acts:
                raise UnknownMisfortune(
                    f"nothing begins with {', '.join(self._only)}; there are {', '.join(known)}"
                )
        random.shuffle(acts)
        return acts

    async def _kill(self, name: str) -> None:
        pid = (await self._operator.node(name))["pid"]
        with suppress(ProcessLookupError, TypeError):
            os.kill(pid, signal.SIGKILL)
        await _gone(pid)

    async def _kill_engine(self, name: str) -> None:
        loop = asyncio.get_running_loop()
        self._book.engine_deaths.append(loop.time())
        if self._engine is not None:
            await asyncio.to_thread(self._engine)
        else:
            await self._kill(name)

    async def _hang(self, name: str) -> None:
        """Longer than a lease: somebody else takes its jobs, and it goes on all the same."""
        pid = (await self._operator.node(name))["pid"]
        with suppress(ProcessLookupError, TypeError):
            os.kill(pid, signal.SIGSTOP)
            await asyncio.sleep(random.uniform(4.5, 7.0))
            os.kill(pid, signal.SIGCONT)

    async def _stop(self, name: str) -> None:
        await self._operator.ask("stop", f"{name}/stream")
        await asyncio.sleep(random.uniform(0.5, 4.0))
        await self._operator.ask("start", f"{name}/stream")

    async def drain(self, name: str) -> None:
        """As a deployment does it: drained, ended, started anew."""
        await self._operator.ask("drain", f"{name}/stream")

        async def ended() -> bool:
            return bool((await self._operator.node(name))["state"] == "stopped")

        await eventually_async(ended, within=self._drained)
        await self._operator.ask("start", f"{name}/stream")


async def _gone(pid: int) -> None:
    process = Path(f"/proc/{pid}")
    await eventually_async(lambda: not process.exists())


class Meter:
    """Samples the brokers' memory and files."""

    def __init__(self, operator: Operator, every: float) -> None:
        self._operator = operator
        self._every = every
        self.series: dict[int, Series] = {}

    async def run(self) -> None:
        """Until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            with suppress(OkomeError):
                for node in await self._operator.nodes():
                    if node["role"] == "stream" and node["pid"]:
                        made = Series(node["name"], node["pid"])
                        self.series.setdefault(node["pid"], made).sample(loop.time())
            await asyncio.sleep(self._every)

    def summaries(self) -> list[dict[str, float | int | str]]:
        """Of each process that was seen more than once, the longest first."""
        seen = [series for series in self.series.values() if len(series.at) > 1]
        seen.sort(key=lambda series: series.at[0] - series.at[-1])
        return [series.summary() for series in seen]
