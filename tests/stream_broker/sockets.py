"""A WebSocket's connection and the jobs on it, with all ends in the test's hands."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from stream_broker.connection import Taker
from stream_broker.events import Event
from stream_broker.log.base import LogUnavailable
from stream_broker.multiplex import Multiplex
from stream_broker.record import JobState
from stream_broker.watch import Watch
from stream_broker.window import Window
from tests.stream_broker.building import Clock, append, head
from tests.stream_broker.parts import FaultyLog

MUCH = 1 << 20


class Socket:
    """Stands in for the client's connection: what was written, and how full it is."""

    def __init__(self) -> None:
        self.taker: Taker | None = None
        self.full = False
        self.writes: list[list[bytes]] = []
        self.waiting = 0
        self.fills_at: int | None = None
        """Full after so many writes."""
        self.aborted = False
        self.closed = asyncio.Event()
        self.awaited = asyncio.Event()

    def write_messages(self, messages: list[bytes]) -> None:
        assert messages
        self.writes.append(messages)
        if self.fills_at is not None and len(self.writes) >= self.fills_at:
            self.full = True

    def unsent(self) -> int:
        return self.waiting

    def abort(self) -> None:
        self.aborted = True

    async def until_closed(self, timeout: float) -> None:
        """Returns when the test sets `closed`."""
        self.awaited.set()
        await self.closed.wait()

    def take(self) -> None:
        """The client has taken all of it."""
        self.full = False
        if self.taker is not None:
            self.taker.writable()

    @property
    def said(self) -> list[dict[str, Any]]:
        """All messages so far."""
        return [json.loads(message) for write in self.writes for message in write]

    def seqs(self, job: str) -> list[int]:
        """The numbers of a job's events."""
        return [m["seq"] for m in self.said if m.get("job_id") == job and "seq" in m]


class Job:
    """One job's log and window, and how many watch it."""

    def __init__(self, log: FaultyLog, name: str, limit: int) -> None:
        self.name = name
        self.window = Window(limit)
        self.watches = 0
        self._log = log

    async def say(self, *events: Event) -> None:
        """The log holds the events, then they are shown, in one turn."""
        await self._log.append([append(list(events), job=self.name)])
        self.window.append(events)
        self.window.advance(self.window.last)

    def watch(self, cursor: int = 0) -> Watch:
        def left() -> None:
            self.watches -= 1

        self.watches += 1
        return Watch(JobState(head=head(self.name)), self.window, self._log, cursor, left)


class Place:
    """A multiplex that runs, and its client."""

    def __init__(self, send_timeout: float = 60.0) -> None:
        self.log = FaultyLog(Clock())
        self.socket = Socket()
        self.jobs: dict[str, Job] = {}
        self.asked: list[int] = []
        self.found = asyncio.Event()
        self.found.set()
        self.faults: list[Exception] = []
        self.multiplex = Multiplex(self.socket, self._find, send_timeout)
        self.socket.taker = self.multiplex
        self.task = asyncio.create_task(self.multiplex.run())

    async def _find(self, name: str, cursor: int) -> Watch:
        self.asked.append(cursor)
        await self.found.wait()
        if self.faults:
            raise self.faults.pop(0)
        if self.log.away:
            raise LogUnavailable("away")
        return self.jobs[name].watch(cursor)

    async def job(self, name: str, limit: int = MUCH) -> Job:
        """A job that the directory knows."""
        await self.log.create(head(name, durability="none"))
        self.jobs[name] = Job(self.log, name, limit)
        return self.jobs[name]

    async def serve(self, name: str, limit: int = MUCH, cursor: int = 0) -> Job:
        """A job that is served."""
        job = await self.job(name, limit)
        self.multiplex.put(name, job.watch(cursor), cursor)
        await idle()
        return job

    def moved(self, name: str) -> Job:
        """The job's relay moves: this is where the directory finds it from now on."""
        old, self.jobs[name] = self.jobs[name], Job(self.log, name, MUCH)
        self.jobs[name].window = Window(MUCH, old.window.last)
        old.window.move()
        return self.jobs[name]

    async def reply(self, number: int) -> None:
        await self.multiplex.reply(b'{"event":"pong","n":%d}' % number)

    async def ended(self) -> str:
        """Why it has ended."""
        async with asyncio.timeout(5):
            return await self.task


async def idle() -> None:
    """Returns once whatever could be done without anything from outside has been done."""
    for _ in range(50):
        await asyncio.sleep(0)
