"""A whole broker in this process: everything real but its engines and its control plane."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import msgspec

from contracts.grants import EngineTarget
from inventory.load import LOCAL, load_cluster
from inventory.model import Cluster
from inventory.settings import Settings
from stream_broker import app, renewing
from stream_broker.engines.call import EngineCall
from stream_broker.engines.deltas import Delta, Failure, Finish, Text
from stream_broker.log.base import LogUnavailable
from stream_broker.tasks import end
from tests.proof.requests import Request
from tests.stream_broker.building import API_KEY, TARGET, grant
from tests.stream_broker.parts import ScriptedControl, ScriptedStream
from tests.support.chaos_proxy import ChaosProxy
from tests.support.eventually import eventually_async

# Leases end when a test says so, never by the time that a busy machine takes.
SETTINGS = Settings(
    relay_ttl=20.0, max_pause=60.0, relay_buffer=4096, pacing="off", drain_deadline=0.02
)


class Speech(ScriptedStream):
    """An engine's stream that counts: its text is `1 2 3 …`, and goes on where it was.

    Of which job is told by the prompt, so that a test finds it again.
    """

    def __init__(self, target: EngineTarget, call: EngineCall, sink: Any) -> None:
        super().__init__(target, call, sink)
        self.prompt = str(call.messages[0]["content"])
        self.count = len(call.prefix.split())
        assert call.prefix == counted(self.count), f"asked to continue {call.prefix!r}"

    def speak(self, words: int) -> None:
        """Says so many words in one piece of the connection, unless nobody reads."""
        if self.paused or self.closed:
            return
        said: list[Delta] = [Text(f"{self.count + n} ") for n in range(1, words + 1)]
        self.count += words
        self.say(*said)

    def fail(self) -> None:
        """Its connection breaks."""
        if not self.closed:
            self.closed = True
            self.say(Failure("engine_truncated", "the connection has ended"))

    def finish(self) -> None:
        """Comes to its end, unless nobody reads."""
        if not (self.paused or self.closed):
            self.say(Finish("stop"))


def counted(words: int) -> str:
    """The text after so many words."""
    return "".join(f"{n} " for n in range(1, words + 1))


class Speakers:
    """Stands in for EngineClient."""

    def __init__(self) -> None:
        self.streams: list[Speech] = []

    async def start(self, target: EngineTarget, call: EngineCall, sink: Any, *_: Any) -> Speech:
        stream = Speech(target, call, sink)
        self.streams.append(stream)
        return stream

    def of(self, prompt: str) -> Speech | None:
        """The last stream for a prompt, if it is still open."""
        found = [s for s in self.streams if s.prompt == prompt and not s.closed]
        return found[-1] if found else None

    async def aclose(self) -> None:
        """Nothing is pooled."""


class Control(ScriptedControl):
    """Stands in for ControlClient; grants whatever is asked for, on any of three engines."""

    def __init__(self) -> None:
        super().__init__()
        others = [
            msgspec.structs.replace(TARGET, base_url=f"http://engine-{n}:1") for n in range(2)
        ]
        self.answer = grant(max_tokens=100_000, fallbacks=tuple(others))

    async def aclose(self) -> None:
        """Nothing is open."""


class Twin:
    """One broker process. `proxy`: its way to the store of the log, if it has one."""

    def __init__(
        self,
        node: str,
        cluster: Cluster,
        state: Path,
        proxy: ChaosProxy | None,
        settings: Settings = SETTINGS,
    ) -> None:
        self.node = node
        self.proxy = proxy
        self.alive = False
        self.engines = Speakers()
        self.control = Control()
        state.mkdir(exist_ok=True)
        with (
            patch.object(app, "EngineClient", lambda *_, **__: self.engines),
            patch.object(app, "ControlClient", lambda *_, **__: self.control),
        ):
            self.broker = app.Broker(
                app.Options(
                    cluster=cluster,
                    node=node,
                    worker=0,
                    process=f"{node}-{id(self):x}",
                    state=state,
                    service_key="key",
                    settings=settings,
                )
            )
        self._up = asyncio.Event()
        self._end = asyncio.Event()

    async def start(self) -> None:
        """Begins to serve. No sweep of its own: a test says who takes over, and when."""
        if self.broker.sweeper is not None:
            self.broker.sweeper.draining = True
        self._task = asyncio.create_task(self._live())
        await self._up.wait()
        await eventually_async(lambda: self.broker.policy.ready)
        self.alive = True

    async def drain(self) -> None:
        """Sends its viewers away and takes no more, as at SIGTERM; then `stop` it."""
        await self.broker.drain()

    async def stop(self) -> None:
        """Ends in order."""
        self.alive = False
        self._end.set()
        await self._task

    async def kill(self) -> None:
        """Ends as by SIGKILL: not a word more to the log, and nothing handed over."""
        if self.proxy is not None:
            self.proxy.set("cut")
        runner = self.broker.runner
        with patch.object(runner, "_hand_over", _nothing):
            await end((*runner._tasks, *self.broker._tasks))
            await runner._let_go_of_all()
        for stream in self.engines.streams:
            stream.closed = True
        await self.stop()

    async def take_over(self, job_id: str, tag: str) -> None:
        """Does what the sweeper does with a job whose lease has lapsed."""
        assert self.broker.sweeper is not None
        try:
            await self.broker.sweeper._try_take_over(job_id, tag)
        except LogUnavailable:
            return

    async def renew(self) -> None:
        """Renews the leases of its relays, as it does from time to time."""
        runner = self.broker.runner
        log = self.broker.redis_log
        assert log is not None
        for jobs in renewing._by_home(runner.jobs):
            await renewing._renew_home(log, jobs, runner.monotonic)

    def expire(self, job_id: str) -> None:
        """The log of a job that has ended here goes, if it is in memory; the record stays."""
        self.broker.memory._drop_log(job_id)

    def relays(self, job_id: str) -> bool:
        """Does this broker believe that it relays the job?"""
        live = self.broker.runner.jobs.get(job_id)
        return live is not None and live.running

    def get(self, path: str, **headers: str) -> Request:
        """A GET by the user."""
        return self._ask("GET", path, b"", headers)

    async def post(self, path: str, body: Any) -> Request:
        """A POST by the user, answered."""
        request = self._ask("POST", path, json.dumps(body).encode(), {})
        await request.ended()
        return request

    def _ask(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> Request:
        target, _, query = path.partition("?")
        sent = {"authorization": f"Bearer {API_KEY}", "content-type": "application/json"}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        return Request(
            self.broker.app,
            body,
            method=method,
            path=target,
            query_string=query.encode(),
            headers=[(k.encode(), v.encode()) for k, v in sent.items()],
        )

    async def _live(self) -> None:
        async with self.broker.app.router.lifespan_context(self.broker.app):
            self._up.set()
            await self._end.wait()


def cluster_at(host: str, port: int) -> Cluster:
    """The one-machine cluster with its log's Redis somewhere else."""
    cluster = load_cluster(LOCAL)
    nodes = tuple(
        replace(node, address=host, port=port) if node.role == "redis" else node
        for node in cluster.nodes
    )
    return replace(cluster, nodes=nodes)


def cluster_without_log() -> Cluster:
    """The one-machine cluster on a machine without Redis."""
    cluster = load_cluster(LOCAL)
    nodes = tuple(node for node in cluster.nodes if node.role != "redis")
    return replace(cluster, nodes=nodes, durability="none")


async def _nothing(*_: object) -> None:
    pass
