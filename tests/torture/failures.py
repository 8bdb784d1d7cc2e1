"""The failure table of the design, measured on one machine.

    python -m tests.torture.failures [--runs 20] [--only NAME ...] [--json FILE]

A cluster whose log is replicated, an engine that writes evenly, and streams with a home on each
broker, read through the ingress by clients that come back. One thing fails at a time; every
event is looked at, and when it came. What needs several machines (the ingress that holds the
address, power, cut networks) is `scripts/lab drill`.

Exit status: 0 within all bounds, 1 not, or something was lost, repeated or changed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import httpx

from bench.stats import percentile
from okome.redis_commands import form
from tests.e2e.wire import start
from tests.support.cluster import Cluster
from tests.support.eventually import eventually_async
from tests.support.synthetic_engine import MODEL, SyntheticEngine
from tests.torture.chaos import Operator
from tests.torture.stage import stage
from tests.torture.watching import Stream, seen_by

RATE: Final = 25.0
NODES: Final = tuple(f"okome-node-{number:02}" for number in (3, 4, 5, 6))
VICTIM: Final = "okome-node-04"
IDLE_S: Final = 3.0
DRAIN_S: Final = 5.0
_STREAMS_A_NODE: Final = 3
_TOKENS: Final = 4000
_FIRST: Final = 12
_CALM_S: Final = 1.0
_PATIENCE_S: Final = 60.0


@dataclass
class Figures:
    """What one kind of failure showed; seconds, one for each run (or each try)."""

    bound_s: float
    times: list[float] = field(default_factory=list)
    others: list[float] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    share: float = 1.0

    @property
    def kept(self) -> bool:
        """Is what has to be within the bound within it, and nothing else wrong?"""
        return bool(self.times) and percentile(sorted(self.times), self.share) <= self.bound_s


class Field:
    """A running cluster, and what a drill does with it."""

    def __init__(self, cluster: Cluster, engine: SyntheticEngine, http: httpx.AsyncClient) -> None:
        self.cluster = cluster
        self.engine = engine
        self.http = http
        self.operator = Operator(cluster.paths)

    @asynccontextmanager
    async def streams(self, figures: Figures) -> AsyncIterator[list[Stream]]:
        """Some with a home on each broker, all under way; looked through at the end."""
        assert await self.operator.whole()
        made = [
            Stream(await self._begin(node), self.cluster.url)
            for node in NODES
            for _ in range(_STREAMS_A_NODE)
        ]
        async with AsyncExitStack() as stack:
            for stream in made:
                task = asyncio.create_task(stream.follow(self.http))
                stack.push_async_callback(_ended, task)
            if not await seen_by(made, lambda stream: len(stream.seen) >= _FIRST, _PATIENCE_S):
                figures.faults.append("not all streams began")
            await asyncio.sleep(_CALM_S)
            yield made
            for stream in made:
                await self.http.post(f"{self.cluster.url}/v1/jobs/{stream.job_id}/cancel")
            if not await seen_by(made, lambda stream: stream.ended, _PATIENCE_S):
                figures.faults.append("not all streams ended")
        figures.faults += [fault for stream in made for fault in stream.faults()]
        if not await self.operator.whole():
            figures.faults.append("the cluster did not become whole again")
        # The table is of one failure at a time: homes have their slots again, replicas the right
        # to take over.
        await asyncio.to_thread(form, self.cluster.inventory, None, _PATIENCE_S)

    async def _begin(self, node: str) -> str:
        return await start(self.http, self.cluster.broker_url(node), _TOKENS, model=MODEL)

    async def engine_up(self) -> None:
        """Until the control plane has seen that it serves again."""
        control = f"http://{self.cluster.net}25:8000/readyz?engines=up"

        async def up() -> bool:
            return (await self.http.get(control)).status_code == 200

        await eventually_async(up, within=_PATIENCE_S)

    async def kill(self, role: str, last: int) -> None:
        """-9 to the first of that role at the address that ends so; the supervisor starts it
        again by its rules."""
        address = f"{self.cluster.net}{last}"
        found = [n for n in await self.operator.nodes() if n["address"] == address]
        os.kill(next(n["pid"] for n in found if n["role"] == role), signal.SIGKILL)


Drill = Callable[[Field, Figures], Awaitable[None]]


async def pause_of(
    place: Field,
    figures: Figures,
    act: Callable[[], Awaitable[object]],
    undo: Callable[[], Awaitable[object]] | None = None,
) -> None:
    """The longest silence of the victim's streams, and of the others', after `act`."""
    async with place.streams(figures) as streams:
        began = time.monotonic()
        await act()
        hurt = [stream for stream in streams if stream.home == VICTIM]
        # A second of every stream after the fault has been got over.
        await asyncio.sleep(_CALM_S)
        marks = {stream.job_id: len(stream.seen) + RATE for stream in streams}
        goes_on = await seen_by(
            streams, lambda s: s.ended or len(s.seen) >= marks[s.job_id], _PATIENCE_S
        )
        if not goes_on:
            figures.faults.append("not all streams went on")
        until = time.monotonic()
        if undo is not None:
            await undo()
        rest = [stream for stream in streams if stream.home != VICTIM]
        figures.times.append(max(stream.silence(began, until) for stream in hurt))
        figures.others.append(max(stream.silence(began, until) for stream in rest))


async def broker_killed(place: Field, figures: Figures) -> None:
    await pause_of(place, figures, lambda: place.kill("stream", 44))


async def node_lost(place: Field, figures: Figures) -> None:
    ask = place.operator.ask
    await pause_of(place, figures, lambda: ask("stop", VICTIM), lambda: ask("start", VICTIM))


async def primary_killed(place: Field, figures: Figures) -> None:
    await pause_of(place, figures, lambda: place.kill("redis", 44))


async def control_killed(place: Field, figures: Figures) -> None:
    await pause_of(place, figures, lambda: place.kill("control", 25))


async def broker_drained(place: Field, figures: Figures) -> None:
    """As a deployment does it; the jobs outlast the deadline, so they are handed over."""

    async def stopped() -> bool:
        return bool((await place.operator.node(VICTIM))["state"] == "stopped")

    async def restart() -> None:
        await place.operator.ask("drain", f"{VICTIM}/stream")
        await eventually_async(stopped, within=_PATIENCE_S)
        await place.operator.ask("start", f"{VICTIM}/stream")

    await pause_of(place, figures, restart)


async def engine_killed(place: Field, figures: Figures) -> None:
    async def start() -> None:
        await asyncio.to_thread(place.engine.__enter__)

    codes = {"engine_error", "engine_unreachable", "engine_truncated"}
    await _ends_by(place, figures, place.engine.kill, start, codes)


async def engine_stalled(place: Field, figures: Figures) -> None:
    pid = place.engine.process.pid

    async def go_on() -> None:
        os.kill(pid, signal.SIGCONT)

    await _ends_by(place, figures, lambda: os.kill(pid, signal.SIGSTOP), go_on, {"engine_stalled"})


async def _ends_by(
    place: Field,
    figures: Figures,
    act: Callable[[], None],
    undo: Callable[[], Awaitable[None]],
    codes: set[str],
) -> None:
    """Until the last of all streams has been told, with one of these codes."""
    async with place.streams(figures) as streams:
        began = time.monotonic()
        act()
        try:
            if not await seen_by(streams, lambda stream: stream.ended, _PATIENCE_S):
                figures.faults.append("not all streams were told")
        finally:
            # Before the cluster is looked at as a whole.
            await undo()
        figures.times.append(max(stream.at[-1] for stream in streams) - began)
        said = {stream.seen[-1].body.get("code") for stream in streams}
        if not said <= codes:
            figures.faults.append(f"said {said}")
        await place.engine_up()


async def client_returns(place: Field, figures: Figures) -> None:
    """Cut and back, on any broker and through the ingress: until the first replayed byte."""
    async with place.streams(figures) as streams:
        bases = [place.cluster.url, *map(place.cluster.broker_url, NODES)]
        for number, stream in enumerate(streams * 4):
            target = f"{bases[number % len(bases)]}/v1/stream?job_id={stream.job_id}&cursor=1"
            began = time.monotonic()
            async with place.http.stream("GET", target) as answer:
                async for _ in answer.aiter_raw():
                    figures.times.append(time.monotonic() - began)
                    break


async def clients_frozen(place: Field, figures: Figures) -> None:
    """A hundred that take nothing; how long the streams beside them were silent."""
    async with place.streams(figures) as streams, AsyncExitStack() as frozen:
        began = time.monotonic()
        for number in range(100):
            job = streams[number % len(streams)].job_id
            target = f"{place.cluster.url}/v1/stream?job_id={job}"
            await frozen.enter_async_context(place.http.stream("GET", target))
        await asyncio.sleep(10)
        silent = [stream.silence(began, time.monotonic()) for stream in streams]
        figures.times.append(max(silent))


async def every_log_stopped(place: Field, figures: Figures) -> None:
    """All Redis processes: the streams wait `max_pause` and fail; new jobs say what they lack."""
    redis = [n["process"] for n in await place.operator.nodes() if n["role"] == "redis"]
    async with place.streams(figures) as streams:
        began = time.monotonic()
        for name in redis:
            await place.operator.ask("stop", name)
        async with place.http.stream("POST", f"{place.cluster.url}/v1/chat/completions", json={
            "model": MODEL, "stream": True, "max_tokens": 5,
            "messages": [{"role": "user", "content": "Count."}],
        }) as answer:  # fmt: skip
            text = (await answer.aread()).decode()
        if "w5" not in text or "[DONE]" not in text:
            figures.faults.append(f"a new job: {answer.status_code} {text[-200:]!r}")
        for stream in streams:
            stream.told_without_a_log = True
        # Nobody can be told by a log that is away: it is read once it is back.
        await asyncio.sleep(max(0.0, began + 33 - time.monotonic()))
        # None of them is ready before the others are there.
        await asyncio.gather(*(place.operator.ask("start", name) for name in redis))
        if not await seen_by(streams, lambda stream: stream.ended, _PATIENCE_S):
            figures.faults.append("not all streams were told")
        figures.times.append(time.monotonic() - began)


# Name of the drill, in words, its bound in seconds, the share of runs that have to keep it.
TABLE: Final[dict[str, tuple[Drill, str, float, float]]] = {
    "client": (client_returns, "a client comes back: first replayed byte", 0.05, 0.99),
    "broker": (broker_killed, "a broker process is killed: silence of its streams", 3.0, 1.0),
    "node": (node_lost, "a node's broker and Redis are gone: silence of its streams", 5.0, 0.95),
    "primary": (primary_killed, "a node's log primary is killed: silence of its streams", 3.0, 1.0),
    "control": (control_killed, "the control plane is killed: silence of any stream", 0.1, 1.0),
    "drained": (broker_drained, "a broker is drained and restarted", 3.0, 1.0),
    "engine": (engine_killed, "the only engine is killed: until the last is told", 2.0, 1.0),
    "stalled": (engine_stalled, f"the engine stalls, idle timeout {IDLE_S:.0f} s", 4.0, 1.0),
    "frozen": (clients_frozen, "a hundred frozen readers: silence of the others", 0.1, 1.0),
    "logs": (every_log_stopped, "every log Redis is stopped for 33 s: told", 45.0, 1.0),
}
ONCE: Final = ("client", "frozen", "logs")


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def run(options: argparse.Namespace) -> dict[str, Figures]:
    """Every drill that is asked for, each as often as is asked for."""
    found: dict[str, Figures] = {}
    settings = {"engine_idle_timeout": IDLE_S, "drain_deadline": DRAIN_S}
    with ExitStack() as stack:
        engine = stack.enter_context(SyntheticEngine(RATE, steady=True))
        cluster, _ = stack.enter_context(stage(engine=engine, replicated=True, settings=settings))
        headers = {"Authorization": f"Bearer {cluster.api_key}"}
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
        async with httpx.AsyncClient(
            headers=headers, timeout=30, limits=limits, trust_env=False
        ) as http:
            place = Field(cluster, engine, http)
            for name in options.only or TABLE:
                drill, what, bound, share = TABLE[name]
                figures = found[name] = Figures(bound, share=share)
                for _ in range(1 if name in ONCE else options.runs):
                    await drill(place, figures)
                print(row(what, figures), *figures.faults, sep="\n", flush=True)
    return found


def row(what: str, figures: Figures) -> str:
    """A line of the table in docs/proof.md."""
    cells = [what, str(len(figures.times))]
    for times in (figures.times, figures.others):
        ordered = sorted(times)
        shares = [f"{percentile(ordered, p):.3f}" for p in (0.5, 0.95, 1.0)] if ordered else ["–"]
        cells.append(" / ".join(shares))
    cells += [f"{figures.bound_s:g}", "yes" if figures.kept else "**no**", str(len(figures.faults))]
    return f"| {' | '.join(cells)} |"


def main() -> int:
    """Measures and prints; the exit status says whether all is as it should be."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--only", nargs="*", choices=TABLE)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    print("| what fails | times | p50 / p95 / longest, s | the others' | bound | kept | wrong |")
    print("|" + " --- |" * 7, flush=True)
    found = asyncio.run(run(options))
    if options.json is not None:
        told = {name: vars(figures) for name, figures in found.items()}
        options.json.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    return 0 if all(f.kept and not f.faults for f in found.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
