"""The supervisor process: starts a prepared cluster, answers its control socket, ends it."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable, Mapping
from typing import Any

from inventory.tls import client_context, tls_files
from okome.control import ControlServer
from okome.credentials import read_api_key
from okome.errors import OkomeError
from okome.plan import ProcessSpec
from okome.prepare import Launch
from okome.redis_cluster import RedisCluster
from okome.signin import sign_in_url
from okome.supervisor import Supervisor

START_TIMEOUT = 90.0

# The ways in which a person or the system asks the supervisor to end.
_ENDINGS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Session:
    """One run of the cluster, from the first process to the last."""

    def __init__(
        self, launch: Launch, environment: Mapping[str, str], report: Callable[[str], None]
    ) -> None:
        self._launch = launch
        self._report = report
        clustered = launch.cluster.durability == "replicated"
        self._redis = RedisCluster(launch.cluster) if clustered else None
        self._supervisor = Supervisor(
            launch.plan,
            launch.paths,
            {**environment, "PYTHONUNBUFFERED": "1"},
            report,
            {"redis": self._redis_may_start} if clustered else None,
        )
        self._end = asyncio.Event()
        self._ended = asyncio.Event()

    async def run(self, announce: Callable[[str, str], None]) -> None:
        """Runs until it is asked to end. `announce` gets chat URL and API key once all is ready.

        Raises OkomeError when the cluster cannot be started; nothing is left running then.
        """
        loop = asyncio.get_running_loop()
        for number in _ENDINGS:
            loop.add_signal_handler(number, self._interrupt)
        server = ControlServer(self._handle)
        tending = asyncio.create_task(self._tend_redis())
        try:
            await server.open(self._launch.paths)
            await self._start(announce)
            await self._end.wait()
        finally:
            self._end.set()
            tending.cancel()
            await asyncio.wait([tending])
            self._report("ending every process")
            await self._supervisor.down()
            self._ended.set()
            self._report("nothing is running any more")
            if self._redis is not None:
                await self._redis.aclose()
            await server.close()

    async def _start(self, announce: Callable[[str, str], None]) -> None:
        """Brings everything up, unless somebody asks to end before it is done."""
        began = time.monotonic()
        starting = asyncio.create_task(self._supervisor.up(START_TIMEOUT))
        ending = asyncio.create_task(self._end.wait())
        await asyncio.wait([starting, ending], return_when=asyncio.FIRST_COMPLETED)
        ending.cancel()
        if self._end.is_set():
            starting.cancel()
            await asyncio.wait([starting])
            return
        await starting
        self._report(f"every node is ready after {time.monotonic() - began:.1f} s")
        announce(await self._sign_in(), self._api_key())

    async def _tend_redis(self) -> None:
        """Forms the log's Redis Cluster, where there is one, and keeps it as it should be."""
        if self._redis is not None:
            await self._redis.tend(self._report)

    async def _redis_may_start(self, spec: ProcessSpec) -> None:
        if self._redis is not None:
            await self._redis.await_replaced(f"{spec.address}:{spec.port}", self._report)

    def _interrupt(self) -> None:
        if self._end.is_set():
            self._supervisor.kill()
        self._end.set()

    async def _handle(self, question: dict[str, Any]) -> dict[str, Any]:
        operations = {
            "stop": self._supervisor.stop,
            "start": self._supervisor.start,
            "drain": self._supervisor.drain,
        }
        match question:
            case {"op": "status"}:
                return await self._status()
            case {"op": "url"}:
                return {"url": await self._sign_in()}
            case {"op": "down"}:
                self._end.set()
                await self._ended.wait()
                return {}
            case {"op": ("stop" | "start" | "drain") as name, "target": str(target)}:
                await operations[name](target)
                return {}
        raise OkomeError("the running OKOME does not know this command; is it an older version?")

    async def _status(self) -> dict[str, Any]:
        launch = self._launch
        return {
            "url": launch.url,
            "chat_url": launch.browser_url,
            "api_key": self._api_key(),
            "durability": launch.cluster.durability,
            "state_dir": str(launch.paths.state),
            "supervisor_pid": os.getpid(),
            "lacking": launch.lacking,
            "nodes": await self._supervisor.status(),
        }

    async def _sign_in(self) -> str:
        launch = self._launch
        url, tls = launch.cluster.control_url, tls_files(launch.paths.credentials)
        if tls is not None:
            url = url.replace("http://", "https://", 1)
        context = client_context(tls) if tls is not None else None
        return await sign_in_url(url, self._api_key(), launch.browser_url, context)

    def _api_key(self) -> str:
        return read_api_key(self._launch.paths.credentials)
