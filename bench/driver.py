"""Opens streams, waits for them, and counts what went wrong with them."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Iterable
from typing import Any

from bench.ask import Ask
from bench.client import Reader, connect
from bench.control import engine_call
from bench.meter import Meter
from bench.spec import LoadSpec
from bench.tokens import TokenCheck
from bench.workloads import Workload

AskOf = Callable[[int], Ask]


class Driver:
    """The streams of one run. Every run with the same seed has the same phases."""

    def __init__(self, spec: LoadSpec) -> None:
        self.spec = spec
        self.work: Workload = spec.workload
        self.meter = Meter()
        self._readers: list[Reader] = []
        self._checks: list[TokenCheck] = []
        self._overs: list[asyncio.Future[str | None]] = []
        self._errors: list[str] = []
        self._random = random.Random(spec.seed)
        self._number = 0

    def paced(self, work: Workload) -> AskOf:
        """Asks of this workload, each from a random phase of its pace on."""

        def ask(number: int) -> Ask:
            phase = self._random.uniform(0, work.burst / work.rate) if work.rate else 0.0
            return Ask(number, work.rate, work.burst, work.tokens, phase)

        return ask

    async def open(
        self,
        count: int,
        seconds: float,
        ask_of: AskOf,
        *,
        freeze: bool = False,
        meter: Meter | None = None,
    ) -> list[Reader]:
        """Opens so many streams, evenly over the time, and waits until each has its first
        token or the workload's limit is over. Returns those that could be opened.

        Their tokens are noted in `meter`, if it is given, instead of with all others."""
        begin = time.monotonic()
        tasks = []
        for index in range(count):
            await asyncio.sleep(begin + index * seconds / count - time.monotonic())
            self._number += 1
            tasks.append(asyncio.create_task(self._open_one(ask_of(self._number), freeze, meter)))
        opened = [reader for task in tasks if (reader := await task)]
        await self._settle((reader.began for reader in opened), self.work.limit)
        return opened

    async def connect(self, *, freeze: bool = False, meter: Meter | None = None) -> Reader:
        """A new connection to the proxy, closed at the latest with the driver."""
        target = self.spec.target
        reader = await connect(target.address, target.port, meter or self.meter, freeze=freeze)
        self._readers.append(reader)
        return reader

    async def aclose(self) -> None:
        """Leaves every connection."""
        for reader in self._readers:
            reader.close()
        await asyncio.sleep(0)  # a transport tells its end, and closes, in the next turn

    async def finish(self, readers: Iterable[Reader]) -> None:
        """Lets the engine end all that runs, and waits for it, at most for the limit."""
        await self.engine("finish")
        await self._settle((reader.over for reader in readers), self.work.limit)

    async def engine(self, what: str) -> dict[str, int]:
        """The engine's counts, after `finish` or just so (`stats`)."""
        return await asyncio.to_thread(engine_call, self.spec.engine, what)

    def note(self, reader: Reader) -> None:
        """The answer that the reader is at counts in `faults`."""
        self._checks.append(reader.check)
        self._overs.append(reader.over)

    def faults(self) -> dict[str, Any]:
        """What went wrong with the streams so far: all zero, and no error, on a good run."""
        told = [over.result() for over in self._overs if over.done()]
        errors = self._errors + [error for error in told if error]
        return {
            "streams": len(self._checks),
            "lost": sum(check.lost for check in self._checks),
            "repeated": sum(check.repeated for check in self._checks),
            "swapped": sum(check.swapped + check.foreign for check in self._checks),
            "unfinished": len(self._overs) - len(told),
            "failed": len(errors),
            "error": errors[0] if errors else None,
        }

    async def _open_one(self, ask: Ask, freeze: bool, meter: Meter | None) -> Reader | None:
        try:
            reader = await self.connect(freeze=freeze, meter=meter)
        except OSError as error:
            self._errors.append(f"cannot connect: {error}")
            return None
        reader.ask(self.spec.target.request(ask), ask.stream)
        if not freeze:
            self.note(reader)
        return reader

    async def _settle(self, futures: Iterable[asyncio.Future[str | None]], limit: float) -> None:
        if waiting := list(futures):
            await asyncio.wait(waiting, timeout=limit)
