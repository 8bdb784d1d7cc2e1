"""A broker's inner parts, wired around scripted engines and a scripted control plane."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from contracts.grants import (
    EngineReport,
    EngineTarget,
    Grant,
    GrantRequest,
    Settlement,
    TurnAnswer,
    Usage,
)
from contracts.policy import PolicySnapshot
from contracts.tools import Invocation, ToolAnswer
from inventory.settings import Settings
from stream_broker.control import ControlUnavailable
from stream_broker.directory import Directory
from stream_broker.engines.call import EngineCall
from stream_broker.engines.deltas import Delta
from stream_broker.events import Event
from stream_broker.leases import LeaseKeeper
from stream_broker.live import LiveJob
from stream_broker.log.base import Append, LogUnavailable, Outcome
from stream_broker.log.lanes import LaneWriters
from stream_broker.log.memory import MemoryLog
from stream_broker.log.writer import LogWriter
from stream_broker.metrics import BrokerMetrics
from stream_broker.playout import Playout
from stream_broker.record import JobHead
from stream_broker.running import Runner
from stream_broker.settlements import SettlementSpool
from stream_broker.tasks import end
from stream_broker.tool_desk import ToolDesk
from stream_broker.turns import Turns
from stream_broker.watch import Watch
from tests.stream_broker.building import HOME, JOB, USER, Clock, grant, head, policy

MUCH = 1 << 20


class ScriptedStream:
    """An engine's stream as a test drives it."""

    def __init__(self, target: EngineTarget, call: EngineCall, sink: Any) -> None:
        self.target = target
        self.call = call
        self.paused = False
        self.closed = False
        self.counted: Usage | None = None
        self._sink = sink

    def say(self, *deltas: Delta) -> None:
        """The engine says something, as from its connection."""
        self._sink.deltas(list(deltas))

    def pause(self) -> None:
        self.paused = True

    def shorten(self, make: Any) -> None:
        """It has no parser whose work could be shortened."""

    def resume(self) -> None:
        self.paused = False

    def close(self) -> None:
        self.closed = True

    def usage(self) -> Usage | None:
        return self.counted


class ScriptedEngines:
    """Stands in for EngineClient. `refuse`: base URLs that cannot be asked at all."""

    def __init__(self) -> None:
        self.streams: list[ScriptedStream] = []
        self.refuse: set[str] = set()
        self._begun = asyncio.Condition()

    async def start(
        self, target: EngineTarget, call: EngineCall, sink: Any, *_: Any
    ) -> ScriptedStream:
        if target.base_url in self.refuse:
            raise ValueError(f"cannot stream from {target.base_url}")
        stream = ScriptedStream(target, call, sink)
        self.streams.append(stream)
        async with self._begun:
            self._begun.notify_all()
        return stream

    async def stream(self, number: int = 1) -> ScriptedStream:
        """The stream of that number, once it has begun and its relay holds it."""
        async with asyncio.timeout(5), self._begun:
            await self._begun.wait_for(lambda: len(self.streams) >= number)
        await asyncio.sleep(0)
        return self.streams[number - 1]


class ScriptedControl:
    """Stands in for ControlClient; `away` while it does not answer."""

    def __init__(self) -> None:
        self.away = False
        self.refusal: Exception | None = None
        self.settled: list[Settlement] = []
        self.calls: list[int] = []
        self.unsettled: set[str] = set()
        self.asked: list[GrantRequest] = []
        self.renewed: list[list[str]] = []
        self.unknown: list[str] = []
        self.acquired: list[tuple[dict[str, str], str]] = []
        self.answer: Grant = grant()
        self.snapshot: PolicySnapshot = policy()
        self.polls = 0
        self.invoked: list[tuple[str, Invocation]] = []
        self.tools: dict[str, ToolAnswer | Exception] = {}
        self.tools_open = asyncio.Event()
        self.tools_open.set()
        self.turns: list[TurnAnswer | Exception] = []
        self.turns_asked: list[str] = []
        self.reports: list[EngineReport] = []

    def _check(self) -> None:
        if self.away:
            raise ControlUnavailable("away")
        if self.refusal is not None:
            raise self.refusal

    async def grant(self, request: GrantRequest) -> Grant:
        self.asked.append(request)
        self._check()
        return self.answer

    async def settle(self, settlements: Sequence[Settlement]) -> dict[str, str]:
        self._check()
        taken = [one for one in settlements if one.job_id not in self.unsettled]
        self.settled += taken
        self.calls.append(len(settlements))
        return {one.job_id: "x" for one in settlements if one not in taken}

    async def turn(self, grant_id: str) -> TurnAnswer:
        self._check()
        self.turns_asked.append(grant_id)
        answer = self.turns.pop(0) if len(self.turns) > 1 else self.turns[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def report(self, reports: Sequence[EngineReport]) -> None:
        self._check()
        self.reports += reports

    async def invoke(self, name: str, call: Invocation, timeout: float) -> ToolAnswer:
        self.invoked.append((name, call))
        await self.tools_open.wait()
        self._check()
        answer = self.tools.get(name, ToolAnswer(ok=True, content=f"{name} answers"))
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def renew(self, lease_ids: list[str]) -> list[str]:
        self._check()
        self.renewed.append(lease_ids)
        return self.unknown

    async def acquire(self, leases: dict[str, str], node: str) -> list[str]:
        self._check()
        self.acquired.append((leases, node))
        return []

    async def policy(self, etag: str | None) -> tuple[PolicySnapshot, str] | None:
        self.polls += 1
        self._check()
        return None if etag == self.snapshot.version else (self.snapshot, self.snapshot.version)


class FaultyLog(MemoryLog):
    """A log in memory that a test may take away, hold up, or make refuse."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock, log_ttl=900, record_ttl=86_400, claim_ttl=86_400, max_bytes=MUCH)
        self.away = False
        self.refuses: Outcome | None = None
        self.open = asyncio.Event()
        self.open.set()

    async def append(self, batch: list[Append]) -> list[Outcome]:
        await self.open.wait()
        if self.away:
            raise LogUnavailable("away")
        if self.refuses is not None:
            return [self.refuses] * len(batch)
        return await super().append(batch)

    async def read(self, job_id: str, after: int, max_bytes: int) -> Any:
        await self.open.wait()
        if self.away:
            raise LogUnavailable("away")
        return await super().read(job_id, after, max_bytes)


class Parts:
    """Runner, directory and what they need, over a log in memory."""

    def __init__(
        self, state: Path, redis_log: Any = None, client: Any = None, **settings: Any
    ) -> None:
        self.clock, self.monotonic = Clock(), Clock(0.0)
        self.settings = Settings(**settings)
        self.engines = ScriptedEngines()
        self.control = ScriptedControl()
        self.log = FaultyLog(self.clock)
        self.metrics = BrokerMetrics()
        control: Any = self.control
        engines: Any = client or self.engines
        self.leases = LeaseKeeper(control, "node-3", interval=10.0)
        self.spool = SettlementSpool(state / "spool", control, max_bytes=MUCH)
        self.writer = LogWriter(self.log, self.monotonic)
        self.writers: dict[str, LogWriter | LaneWriters] = {"none": self.writer}
        if redis_log is not None:
            self.writers[redis_log.durability] = LaneWriters(redis_log, self.monotonic)
        self.ended: list[LiveJob] = []
        self.turns = Turns(control, self.monotonic)
        self.faults: list[tuple[str, str]] = []
        self.runner = Runner(
            self.settings,
            "node-3",
            engines,
            self.writers,
            self.leases,
            self.spool,
            self.metrics,
            self.log,
            redis_log,
            self._on_end,
            lambda grant: grant.targets,
            lambda target, code: self.faults.append((target.base_url, code)),
            self.turns,
            ToolDesk(control, self.settings.tool_wait, time.monotonic, self.metrics.tool_called),
            clock=self.clock,
            monotonic=self.monotonic,
        )
        self.playout = Playout(time.monotonic)
        self.directory = Directory(HOME, self.runner, self.log, redis_log, None, self.playout)

    async def _on_end(self, live: LiveJob) -> None:
        self.ended.append(live)

    async def begin(self, job: JobHead | None = None) -> LiveJob:
        """Accepts a job and waits until its engine has been asked."""
        job = job or head(durability="none")
        await self.log.create(job)
        live = self.runner.start(job, 1)
        await self.engines.stream(len(self.engines.streams) + 1)
        return live

    async def watch(self, cursor: int = 0, job: str = JOB) -> Watch:
        """A viewer of the job."""
        return await self.directory.watch(job, USER, cursor)

    async def finished(self) -> None:
        """Waits until no job runs."""
        async with asyncio.timeout(5):
            await self.runner.finished()


@asynccontextmanager
async def running(
    state: Path, redis_log: Any = None, client: Any = None, **settings: Any
) -> AsyncIterator[Parts]:
    """Parts whose writers run; all of it is ended at the end. `client`: an EngineClient in
    place of the scripted engines."""
    parts = Parts(state, redis_log, client, **settings)
    tasks = [asyncio.create_task(writer.run()) for writer in parts.writers.values()]
    try:
        yield parts
    finally:
        parts.log.open.set()
        await parts.runner.aclose()
        await end(tasks)
        parts.spool.close()


async def all_of(watch: Watch) -> list[Event]:
    """What a viewer is given until the end."""
    events: list[Event] = []
    async with asyncio.timeout(5):
        while not watch.feed.ended:
            events += await watch.feed.next(60)
    return events


def with_grant(**changes: object) -> JobHead:
    return head(durability="none", grant=grant(**changes))  # type: ignore[arg-type]
