"""One run: a cluster, its clients, its misfortunes, and the last look at every job."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Literal

from tests.support import synthetic_engine
from tests.support.cluster import Cluster
from tests.torture.book import Book, Job
from tests.torture.chaos import Chaos, Meter, Operator
from tests.torture.complaints import complaints
from tests.torture.readers import EventSource, OpenAI, Reader
from tests.torture.report import figures
from tests.torture.site import Site
from tests.torture.sockets import SocketClient
from tests.torture.wire import Blocks, Broken

_LAST_LOOK_S = 90.0
_SAMPLE_S = 3.0
_LOOKS = 16
# A drain waits for streams that cannot go on elsewhere (`drain_deadline`); a real engine on the
# same two cores takes minutes for one.
_DRAINED_S = {True: 40.0, False: 600.0}


@dataclass
class Options:
    """What is asked of a run. It ends at `minutes` or `reconnects`, whichever is first.

    `engine`: kills and restarts an engine that is not the supervisor's. `synthetic`: its
    text counts, so that it can be checked. `chaos`: `all` misfortunes, `rolling` for one
    rolling restart of the brokers, or `none`; `only`: how those of `all` begin that are wanted,
    if not every one. `cuts`: clients cut their own connections and
    turn to any broker; without they stay as long as they can, and know the ingress only.
    """

    minutes: float
    reconnects: int
    clients: int = 24
    synthetic: bool = True
    chaos: Literal["all", "rolling", "none"] = "all"
    only: tuple[str, ...] = ()
    cuts: bool = True
    pause: tuple[float, float] = (1.0, 4.0)
    tokens: tuple[int, int] = (60, 240)
    engine: Callable[[], Any] | None = None
    spared: str = "okome-node-06"


class Run:
    """All of one run. `say` is told how it goes."""

    def __init__(self, cluster: Cluster, options: Options, say: Callable[[str], None]) -> None:
        self.options = options
        self.book = Book()
        self._say = say
        self._operator = Operator(cluster.paths)
        self._logs = cluster.paths.logs
        status = cluster.status()
        brokers = {
            node["name"]: f"http://{node['address']}:{node['port']}"
            for node in status["nodes"]
            if node["role"] == "stream"
        }
        model = synthetic_engine.MODEL if options.synthetic else "smollm2:135m"
        self.site = Site(
            status["url"],
            brokers,
            status["api_key"],
            model,
            self.book,
            tokens=options.tokens,
            cuts=options.cuts,
        )
        self._meter = Meter(self._operator, _SAMPLE_S)
        self._looks = asyncio.Semaphore(_LOOKS)
        self._failed: list[BaseException] = []

    async def run(self) -> dict[str, Any]:
        """Tortures; returns the figures."""
        began = time.monotonic()
        chaos = self._chaos()
        meter = asyncio.create_task(self._meter.run())
        others = [meter, *self._misfortunes(chaos)]
        clients = [asyncio.create_task(self._guarded(c.run())) for c in self._clients()]
        try:
            await self._wait(began, others)
            chaos.end()
            await asyncio.gather(*others[1:])
            if not await self._operator.whole():
                self.book.violation("not_whole", "at the end")
            self.site.closing.set()
            self._say("the last look at every job")
            await asyncio.wait(clients, timeout=_LAST_LOOK_S)
        finally:
            await _end([*others, *clients])
        await asyncio.gather(*(self._last_look(job) for job in tuple(self.book.jobs.values())))
        for text in await asyncio.to_thread(lambda: list(complaints(self._logs))):
            self.book.violation("complaint", text)
        self.book.close(synthetic_engine.words if self.options.synthetic else None)
        if self._failed:
            raise self._failed[0]
        return figures(self.book, time.monotonic() - began, self._meter.summaries())

    def _clients(self) -> list[Reader | SocketClient]:
        kinds: list[type[Reader] | type[SocketClient]] = [Reader, OpenAI, EventSource, SocketClient]
        return [kinds[n % len(kinds)](self.site, n) for n in range(self.options.clients)]

    def _misfortunes(self, chaos: Chaos) -> list[asyncio.Task[None]]:
        match self.options.chaos:
            case "all":
                return [asyncio.create_task(chaos.run())]
            case "rolling":
                return [asyncio.create_task(chaos.roll())]
            case "none":
                return []

    def _chaos(self) -> Chaos:
        options = self.options
        return Chaos(
            self._operator,
            self.book,
            options.spared,
            options.pause,
            options.engine,
            self._say,
            drained=_DRAINED_S[options.synthetic],
            only=options.only,
        )

    async def _guarded(self, doing: Coroutine[Any, Any, None]) -> None:
        """A fault of the harness ends the run, and is not taken for one of the cluster."""
        try:
            await doing
        except Exception as error:
            self._failed.append(error)

    async def _wait(self, began: float, others: list[asyncio.Task[None]]) -> None:
        told = began
        while time.monotonic() - began < 60 * self.options.minutes and not self._failed:
            await asyncio.sleep(0.5)
            for task in others:
                if task.done():
                    task.result()
                    return
            done = self.book.counts["reconnects"]
            if self.options.reconnects and done >= self.options.reconnects:
                return
            if time.monotonic() - told >= 10:
                told = time.monotonic()
                self._say(
                    f"{told - began:5.0f} s  {len(self.book.jobs)} jobs  {done} reconnects  "
                    f"{self.book.counts['events']} events  {sum(self.book.faults.values())} faults"
                )

    async def _last_look(self, job: Job) -> None:
        """Reads a job whole, on some broker, and waits for its end if there is none yet."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + _LAST_LOOK_S
        cursor = 0
        async with self._looks:
            while loop.time() < deadline:
                try:
                    cursor, over = await self._look(job, cursor)
                except Broken:
                    over = False
                if over:
                    return

    async def _look(self, job: Job, cursor: int) -> tuple[int, bool]:
        base = random.choice(list(self.site.brokers.values()))
        if job.only_at_home:
            base = self.site.place_for(job)
        path = f"/v1/stream?job_id={job.job_id}&cursor={cursor}"
        answer = await self.site.ask(base, "GET", path)
        try:
            if answer.status == 204 or (job.only_at_home and answer.status in (404, 421)):
                return cursor, True
            if answer.status != 200:
                self.book.violation("refused", f"last look: {answer.status} {job.job_id}")
                return cursor, True
            blocks = Blocks()
            async for piece in answer.pieces():
                for block in blocks.feed(piece):
                    if block.id is None or block.event is None:
                        self.book.violation("not_of_the_log", f"{job.job_id}: {block.data!r}")
                        return cursor, True
                    data = block.data
                    self.book.native(job, cursor, block.id, block.event, data, "last look")
                    cursor = block.id
            return cursor, False
        finally:
            answer.end("close")


async def _end(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
