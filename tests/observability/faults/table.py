"""The faults, each as it happens to a machine: what is done, what has to be seen, who is told."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import asdict, dataclass
from typing import Any, Final

import httpx

from observability import slo
from observability.boards import objectives as at
from observability.boards import slo as overview
from tests.observability.faults.people import SlowClient, ask
from tests.observability.faults.seeing import Sight
from tests.support.cluster import Cluster
from tests.support.synthetic_engine import Mood, SyntheticEngine
from tests.torture.chaos import Operator

BROKER: Final = "okome-node-04"
CONTROL: Final = "okome-control"
REDIS: Final = "okome-redis"
FROZEN: Final = 10
TRICKLING: Final = 3
# More than all buffers between a broker and its client hold, of an engine that is fast.
_LONG: Final = 6000
_FAST: Final = 400.0
_TRICKLE: Final = 4000
_STOPPED_S, _RUNNING_S = 0.08, 0.04


@dataclass(frozen=True, slots=True)
class Place:
    """What a fault happens to."""

    cluster: Cluster
    engine: SyntheticEngine
    http: httpx.AsyncClient
    operator: Operator

    async def mood(self, mood: Mood) -> None:
        """How the engine answers from now on."""
        answer = await self.http.post(f"{self.engine.url}/mood", json=asdict(mood))
        answer.raise_for_status()


Act = Callable[[Place], AbstractAsyncContextManager[None]]


@dataclass(frozen=True, slots=True)
class Fault:
    """`within_s`: seconds until all `alerts` fire by the shipped rules, of which `told_s` are
    the waiting that no rule can shorten (a process' own clocks). `cause`: the one of them
    that has to end when the fault has; an objective's goes on for as long as its windows."""

    words: str
    act: Act
    sight: Sight
    alerts: frozenset[str]
    cause: str
    within_s: float
    told_s: float = 0.0


def _moody(mood: Mood) -> Act:
    @asynccontextmanager
    async def act(place: Place) -> AsyncIterator[None]:
        await place.mood(mood)
        yield
        await place.mood(Mood())

    return act


def _held_down(target: str) -> Act:
    """Killed, and not started again before it is over."""

    @asynccontextmanager
    async def act(place: Place) -> AsyncIterator[None]:
        await place.operator.ask("stop", target)
        yield
        await place.operator.ask("start", target)

    return act


@asynccontextmanager
async def _slow_redis(place: Place) -> AsyncIterator[None]:
    """The log's Redis stands still for 80 ms of every 120, as on a disk or a host too busy."""
    pid = (await place.operator.node(REDIS))["pid"]

    async def stutter() -> None:
        try:
            while True:
                os.kill(pid, signal.SIGSTOP)
                await asyncio.sleep(_STOPPED_S)
                os.kill(pid, signal.SIGCONT)
                await asyncio.sleep(_RUNNING_S)
        finally:
            os.kill(pid, signal.SIGCONT)

    async with _running([stutter()]):
        yield


@asynccontextmanager
async def _slow_clients(place: Place) -> AsyncIterator[None]:
    """Ten that take nothing and three that take 4,000 bytes a second, through the ingress."""
    url, key = place.cluster.url, place.cluster.api_key
    await place.mood(Mood(rate=_FAST))
    clients = [
        SlowClient(url, await ask(place.http, url, _LONG), key, pace)
        for pace in [0] * FROZEN + [_TRICKLE] * TRICKLING
    ]
    await place.mood(Mood())
    async with _running([client.read() for client in clients]):
        yield


@asynccontextmanager
async def _running(works: list[Any]) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(work) for work in works]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


_HOP: Final = "Where does the wait for the first token arise (p95)?"
_SLO: Final = overview.BOARD.uid
_BROKERS: Final = "okome-brokers"

FAULTS: Final[dict[str, Fault]] = {
    "engine-slow": Fault(
        "an engine that takes 3 s for the first token",
        _moody(Mood(first_s=3)),
        Sight(_SLO, _HOP, "engine: first token", slo.ENGINE_TTFT_S),
        frozenset({"OkomeEngineSlow", "OkomeFirstTokenLate"}),
        "OkomeEngineSlow",
        390,
    ),
    "engine-bursty": Fault(
        "an engine with 0.35 s after every tenth token",
        _moody(Mood(pause_s=0.35, every=10)),
        Sight(
            _SLO, "Is the jitter the engine's or ours?", "engine → broker", slo.ENGINE_JITTER_S
        ),
        frozenset({"OkomeEngineBursty"}),
        "OkomeEngineBursty",
        390,
    ),
    "client-slow": Fault(
        "ten clients that take nothing, three that take 4 KB a second",
        _slow_clients,
        Sight(_BROKERS, "How far is the slowest viewer behind?", "{{node}}", at.PILE.warn),
        frozenset({"OkomeSlowViewers"}),
        "OkomeSlowViewers",
        120,
        60,
    ),
    "broker-dead": Fault(
        "a broker killed and held down",
        _held_down(BROKER),
        Sight(
            _SLO, "Which processes do not answer?", "{{job}} {{node}}", 1, "okome-broker", lost=True
        ),
        frozenset({"OkomeBrokerDown"}),
        "OkomeBrokerDown",
        90,
        5,
    ),
    "redis-slow": Fault(
        "the log's Redis stopped for 80 ms of every 120",
        _slow_redis,
        Sight(_SLO, _HOP, "log: durable", slo.LOG_FLUSH_S),
        frozenset({"OkomeLogSlow"}),
        "OkomeLogSlow",
        300,
    ),
    "control-away": Fault(
        "the control plane killed and held down",
        _held_down(CONTROL),
        Sight(
            _BROKERS, "How old is the policy they decide by?", "{{node}}", slo.POLICY_AGE_S
        ),
        frozenset({"OkomeControlPlaneAway"}),
        "OkomeControlPlaneAway",
        90,
        35,
    ),
}  # fmt: skip
