"""What an operator is told of a fault, seen on a running cluster.

    python -m tests.observability.faults [--only NAME ...] [--quicker N] [--json FILE]

For each fault a one-machine cluster of its own with an engine that can be made slow, eight
people who read through the ingress, and the Prometheus that `okome up` runs. First nothing may
be told; then the fault goes on until all its alerts fire, and is looked for on its panel; then
it ends, and the alert has to. Any other alert, at any time, is a fault of ours.

By the shipped rules all six take some 50 minutes; `--quicker 10` has Prometheus load the same
rules with all spans ten times shorter, which takes ten. Leave the machine alone meanwhile.

Exit status: 0 each was seen, in time, and nobody was told of anything else; 1 not so.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

import httpx

from tests.observability.faults.people import people
from tests.observability.faults.quick_prometheus import hurry
from tests.observability.faults.seeing import Prometheus
from tests.observability.faults.table import FAULTS, Fault, Place
from tests.support.eventually import eventually_async
from tests.support.synthetic_engine import SyntheticEngine
from tests.torture.chaos import Operator
from tests.torture.stage import stage

RATE: Final = 25.0
# Answers that are longer than all that lies between a broker and its client.
SETTINGS: Final = {"max_tokens": 10_000}
# Four brokers, the control plane, the ingress.
_TARGETS: Final = 6
_CALM_S: Final = 75.0
_CALM_LEAST_S: Final = 20.0
_ENDS_S: Final = 720.0
_ENDS_LEAST_S: Final = 30.0
_WINDOW: Final = "30s"


@dataclass
class Seen:
    """Seconds since the fault began, `ended` since it was over; values in the panel's unit."""

    words: str
    panel: str
    before: float | None = None
    during: float | None = None
    fired: dict[str, float] = field(default_factory=dict)
    others: list[str] = field(default_factory=list)
    pending: list[str] = field(default_factory=list)
    ended: float | None = None
    faults: list[str] = field(default_factory=list)

    def row(self) -> str:
        """A line of the table in docs/observability.md."""
        fired = ", ".join(f"`{name}` {after:.0f} s" for name, after in self.fired.items())
        values = " → ".join("–" if v is None else f"{v:.3g}" for v in (self.before, self.during))
        ended = "–" if self.ended is None else f"{self.ended:.0f} s"
        others = ", ".join(self.others) or "none"
        return f"| {self.words} | {self.panel}: {values} | {fired} | {others} | {ended} |"


async def drill(fault: Fault, place: Place, prometheus: Prometheus, times: float) -> Seen:
    """One fault from before it began until it was got over."""
    seen = Seen(fault.words, fault.sight.panel)
    alarms = prometheus.alarms
    await eventually_async(lambda: prometheus.up(_TARGETS), within=60)
    await asyncio.sleep(max(_CALM_LEAST_S, _CALM_S / times))
    seen.before = await prometheus.value(fault.sight)
    if fault.sight.shows(seen.before) or alarms.fired:
        seen.faults.append(f"not calm before: {seen.before}, {sorted(alarms.fired)}")
    began = time.monotonic()
    async with fault.act(place):
        within = fault.told_s + (fault.within_s - fault.told_s) / times + (times > 1) * 10
        await _until(lambda: fault.alerts <= alarms.fired.keys(), within)
        seen.during = await prometheus.value(fault.sight)
    over = time.monotonic()
    missing = sorted(fault.alerts - alarms.fired.keys())
    seen.faults += [f"{name} did not fire within {within:.0f} s" for name in missing]
    if not fault.sight.shows(seen.during):
        seen.faults.append(f"not seen on the panel: {seen.during}")
    await _until(lambda: fault.cause in alarms.ended, max(_ENDS_LEAST_S, _ENDS_S / times))
    if fault.cause in alarms.ended:
        seen.ended = alarms.ended[fault.cause] - over
    elif not missing:
        seen.faults.append(f"{fault.cause} did not end")
    seen.fired = {name: at - began for name, at in sorted(alarms.fired.items(), key=_second)}
    seen.others = sorted(alarms.fired.keys() - fault.alerts)
    seen.pending = sorted(alarms.pending - alarms.fired.keys())
    return seen


def _second(pair: tuple[str, float]) -> float:
    return pair[1]


async def _until(so: Callable[[], bool], within: float) -> None:
    """Until it is so, or for that long."""
    with suppress(AssertionError):
        await eventually_async(so, within=within)


@asynccontextmanager
async def _place(times: float) -> AsyncIterator[tuple[Place, Prometheus]]:
    """A cluster, people in it, and its Prometheus, which is looked at."""
    with ExitStack() as stack:
        engine = stack.enter_context(SyntheticEngine(RATE, steady=True))
        cluster, _ = stack.enter_context(stage(engine=engine, settings=SETTINGS))
        if times > 1:
            hurry(cluster, times)
        headers = {"Authorization": f"Bearer {cluster.api_key}"}
        limits = httpx.Limits(max_connections=None)
        async with (
            httpx.AsyncClient(headers=headers, timeout=30, limits=limits, trust_env=False) as http,
            httpx.AsyncClient(timeout=10, trust_env=False) as asking,
            AsyncExitStack() as tasks,
        ):
            prometheus = Prometheus(asking, f"http://{cluster.net}49:9090", _WINDOW)
            for work in (people(http, cluster.url), prometheus.watch()):
                tasks.push_async_callback(_ended, asyncio.create_task(work))
            yield Place(cluster, engine, http, Operator(cluster.paths)), prometheus


async def _ended(task: asyncio.Task[None]) -> None:
    """Raises what has ended it before its time."""
    if task.done():
        task.result()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def _drilled(name: str, times: float) -> Seen:
    async with _place(times) as (place, prometheus):
        return await drill(FAULTS[name], place, prometheus, times)


def main() -> int:
    """Prints the table; the exit status says whether all is as it should be."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.observability.faults",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--only", nargs="*", choices=FAULTS, metavar="NAME", help=", ".join(FAULTS))
    parser.add_argument("--quicker", type=float, default=1.0, metavar="N", help="spans so short")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there")
    options = parser.parse_args()
    print("| fault | its panel, before → during | fired after | other alerts | ended after |")
    print("|" + " --- |" * 5, flush=True)
    found = {}
    for name in options.only or FAULTS:
        seen = found[name] = asyncio.run(_drilled(name, options.quicker))
        print(seen.row(), flush=True)
        for line in (f"pending only: {seen.pending}", *seen.faults):
            print(f"  {name}: {line}", file=sys.stderr, flush=True)
    if options.json is not None:
        told = {name: asdict(seen) for name, seen in found.items()}
        options.json.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    return 1 if any(seen.faults or seen.others for seen in found.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
