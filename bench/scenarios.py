"""How each kind of workload goes: open, wait, measure, end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec

from bench.ask import Ask
from bench.client import Reader
from bench.driver import Driver
from bench.meter import Meter
from bench.stats import spread
from bench.usage import memory
from bench.window import Window
from bench.workloads import Mode

_SETTLE_S = 0.3
_STALL_S = 3.0
_LANES = (1, 16)
_HEALTHY = 20
_HEALTHY_RATE = 50.0
_QUIET_RATE = 20.0


async def steady(driver: Driver) -> dict[str, Any]:
    """All streams at their pace; measured from when all have begun."""
    work = driver.work
    readers = await driver.open(work.streams, work.ramp, driver.paced(work))
    measured = await _record(driver, work.window)
    await driver.finish(readers)
    return measured | driver.faults()


async def openings(driver: Driver) -> dict[str, Any]:
    """Times to first token while streams open quickly, each with its first token ready.

    Without a number of `tokens` that token is all they get: then the CPU time is that of
    opening alone.
    """
    work = driver.work

    def ask(number: int) -> Ask:
        return Ask(number, work.rate, work.burst, work.tokens, hold=int(not work.tokens))

    window = Window(driver.spec, driver.meter)
    readers = await driver.open(work.streams, work.ramp, ask)
    measured = window.close() | driver.meter.summary()
    await driver.finish(readers)
    return measured | {"cpu_ms_per_opening": _each(measured, work.streams)} | driver.faults()


async def silent(driver: Driver) -> dict[str, Any]:
    """What an open stream holds in memory. Counted at the engine, so that none is missing."""
    work, roots = driver.work, list(driver.spec.measured.values())
    before = memory(roots)
    readers = await driver.open(work.streams, work.ramp, lambda n: Ask(n, work.rate, hold=1))
    await asyncio.sleep(work.window)
    grown = memory(roots) - before
    is_open = (await driver.engine("stats"))["running"]
    await driver.finish(readers)
    each = grown / is_open / 1024 if is_open else None
    ttft = {"ttft": spread(driver.meter.ttft)}
    return {"open": is_open, "kib_per_stream": each} | ttft | driver.faults()


async def short(driver: Driver) -> dict[str, Any]:
    """Short answers over kept connections: one at a time, then several at a time."""
    found: dict[str, Any] = {}
    for lanes in _LANES:
        driver.meter.clear()
        window = Window(driver.spec, driver.meter)
        queue = iter(range(driver.work.streams))
        await asyncio.gather(*(_lane(driver, queue) for _ in range(lanes)))
        used = window.close()
        each = _each(used, driver.work.streams)
        found[f"lanes_{lanes}"] = {"ttft": spread(driver.meter.ttft), "cpu_ms_per_answer": each}
    return found | driver.faults()


async def frozen(driver: Driver) -> dict[str, Any]:
    """Healthy streams before, beside and after readers that stop reading long answers.

    After: once the engine has said all that it is let to say, the frozen still there.
    """
    work = driver.work
    healthy = msgspec.structs.replace(work, rate=_HEALTHY_RATE, tokens=0)
    watched = await driver.open(_HEALTHY, 0.5, driver.paced(healthy))
    without = await _record(driver, work.window)
    before = _memory_of_each(driver)
    stuck = await driver.open(work.streams, work.ramp, driver.paced(work), freeze=True)
    during = await _record(driver, 0, until=lambda: _quiet(driver))
    after = _memory_of_each(driver)
    readers = max(1, len(stuck))
    grown = {name: (after[name] - before[name]) / readers / 1024 for name in after}
    beside = await _record(driver, work.window)
    await driver.finish(watched)
    return {
        "without": without,
        "during": during,
        "beside": beside,
        "kib_per_reader": sum(grown.values()) - grown.get(LOG_PROCESS, 0.0),
        "log_kib_per_reader": grown.get(LOG_PROCESS),
        "frozen": len(stuck),
    } | driver.faults()


async def flood(driver: Driver) -> dict[str, Any]:
    """Streams with a token now and then, alone and beside others that say all they are let to."""
    work = driver.work
    quiet = msgspec.structs.replace(work, rate=_QUIET_RATE)
    watched = await driver.open(_HEALTHY, 0.5, driver.paced(quiet))
    without = await _record(driver, work.window)
    flooding = Meter()
    others = await driver.open(work.streams, work.ramp, driver.paced(work), meter=flooding)
    before = flooding.tokens
    beside = await _record(driver, work.window)
    rate = (flooding.tokens - before) / beside["seconds"]
    await driver.finish([*watched, *others])
    told = {"without": without, "beside": beside, "flood_tokens_per_s": rate}
    return told | {"flooding": len(others)} | driver.faults()


# The name of a peer's process that keeps whole answers, as a broker must not.
LOG_PROCESS: Final = "redis"

SCENARIOS: dict[Mode, Callable[[Driver], Awaitable[dict[str, Any]]]] = {
    "steady": steady,
    "openings": openings,
    "silent": silent,
    "short": short,
    "frozen": frozen,
    "flood": flood,
}


def _memory_of_each(driver: Driver) -> dict[str, int]:
    """Resident bytes by process."""
    return {name: memory([root]) for name, root in driver.spec.measured.items()}


def _each(used: dict[str, Any], count: int) -> dict[str, float]:
    """Milliseconds of CPU time a piece, by process; those on other machines too."""
    spent = used["cpu_s"] | used["beside_s"]
    return {name: seconds / count * 1000 for name, seconds in spent.items()}


async def _record(
    driver: Driver, seconds: float, until: Callable[[], Awaitable[None]] | None = None
) -> dict[str, Any]:
    """Records for so long, or until something has happened."""
    await asyncio.sleep(_SETTLE_S)
    ttft = driver.meter.ttft
    driver.meter.clear()
    driver.meter.ttft = ttft
    window = Window(driver.spec, driver.meter)
    driver.meter.recording = True
    await (until() if until else asyncio.sleep(seconds))
    driver.meter.recording = False
    return window.close() | driver.meter.summary()


async def _quiet(driver: Driver) -> None:
    """Until the frozen streams' answers have ended, or none of them gets on any more."""
    loop = asyncio.get_running_loop()
    last, since = -1, loop.time()
    while True:
        stats = await driver.engine("stats")
        if stats["running"] <= _HEALTHY or loop.time() > since + _STALL_S:
            return
        # The healthy ones' tokens are no progress of the others.
        if stats["tokens"] - last > _HEALTHY * _HEALTHY_RATE * _STALL_S * 1.5:
            last, since = stats["tokens"], loop.time()
        await asyncio.sleep(0.5)


async def _lane(driver: Driver, queue: Any) -> None:
    """Takes one answer after the other, on one connection while it is kept."""
    work = driver.work
    reader: Reader | None = None
    for number in queue:
        ask = Ask(number, work.rate, work.burst, work.tokens)
        if reader is None or reader.closed:
            reader = await driver.connect()
        reader.ask(driver.spec.target.request(ask), ask.stream)
        driver.note(reader)
        await asyncio.wait([reader.over], timeout=work.limit)
        if not reader.over.done():
            return
