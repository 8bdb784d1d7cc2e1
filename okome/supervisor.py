"""Owns every process of the cluster: starts them in order, keeps them, ends them in order."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from inventory.model import Role
from inventory.tls import client_context, tls_files
from okome.child import Child, Gate
from okome.errors import OkomeError
from okome.logfile import BoundedLog
from okome.paths import Paths
from okome.plan import STOP_ORDER, ProcessSpec
from okome.probe import Prober

# Ends in a row during the start, none of them ready, after which the start has failed.
GIVE_UP_AFTER = 3
# A broker that is told to end waits for clients that cannot come back; the one-machine
# cluster, when it is ended as a whole, gives them this long.
STOP_GRACE = 3.0
START_TIMEOUT = 30.0
ALL_SEEN_TIMEOUT = 5.0
# Those who look after others, and the others.
_SEEN = ("core_gpu", "control", "ingress", "stream")


class Supervisor:
    """All children by name. Everything here runs on one event loop.

    `gates`: by role, what a process waits for before it is started.
    """

    def __init__(
        self,
        plan: Sequence[ProcessSpec],
        paths: Paths,
        environment: Mapping[str, str],
        report: Callable[[str], None],
        gates: Mapping[Role, Gate] | None = None,
    ) -> None:
        tls = tls_files(paths.credentials)
        self._prober = Prober(client_context(tls) if tls else None)
        self._report = report
        self._plan = list(plan)
        self._children = {
            spec.name: Child(
                spec,
                BoundedLog(paths.log(spec.name)),
                self._prober,
                environment,
                report,
                (gates or {}).get(spec.role),
            )
            for spec in plan
            if spec.argv is not None
        }

    async def up(self, timeout: float) -> None:
        """Starts every process and returns when all are ready.

        Raises OkomeError when one crashes again and again, or is not ready in time.
        """
        try:
            async with asyncio.TaskGroup() as group:
                for spec in self._plan:
                    group.create_task(self._bring_up(spec, timeout))
        except ExceptionGroup as failures:
            # One is enough to mend first; the others are often its consequence.
            if known := failures.subgroup(OkomeError):
                raise OkomeError(str(known.exceptions[0])) from failures
            raise
        await self._all_seen()

    async def status(self) -> list[dict[str, Any]]:
        """One entry per process, with its health as it is now."""
        reasons = await asyncio.gather(*(self._unready(spec) for spec in self._plan))
        return [self._entry(*pair) for pair in zip(self._plan, reasons, strict=True)]

    async def stop(self, target: str) -> None:
        """Kills (-9) the processes of `NODE[/ROLE]` and holds them down."""
        await asyncio.gather(*(child.stop(grace=0) for child in self._of(target)))

    async def start(self, target: str) -> None:
        """Brings the processes of `NODE[/ROLE]` back; returns when they are ready."""
        children = self._of(target)
        for child in children:
            if child.state == "draining":
                raise OkomeError(
                    f"{child.spec.name} is draining; wait for it to end, or end it now with "
                    f"`okome stop {target}`"
                )
            child.start()
        await asyncio.gather(*(self._wait_ready(child, START_TIMEOUT) for child in children))
        if any(child.spec.role in _SEEN for child in children):
            await self._all_seen()

    async def drain(self, target: str) -> None:
        """Drains the brokers of a node; they are held down once they have ended.

        What else runs on the node goes on: the log of jobs that other brokers take over.
        """
        children = self._of(target)
        brokers = [child for child in children if child.spec.role == "stream"]
        if not brokers:
            raise OkomeError(
                f"{children[0].spec.name} is no broker, and only brokers drain; "
                f"`okome stop {target}` ends it"
            )
        for broker in brokers:
            broker.drain()

    async def down(self) -> None:
        """Ends everything, in order. Afterwards no process is left."""
        for role in STOP_ORDER:
            ending = [child for child in self._children.values() if child.spec.role == role]
            await asyncio.gather(*(child.stop(STOP_GRACE) for child in ending))
        await asyncio.gather(*(child.stop(STOP_GRACE) for child in self._children.values()))
        for child in self._children.values():
            child.log.close()
        await self._prober.close()

    def kill(self) -> None:
        """Kills everything at once: somebody is in a hurry. `down` is still to be awaited."""
        for child in self._children.values():
            child.kill()

    async def _bring_up(self, spec: ProcessSpec, timeout: float) -> None:
        child = self._children.get(spec.name)
        if child is None:
            await self._wait_foreign(spec, timeout)
            return
        began = time.monotonic()
        await asyncio.gather(
            *(self._wait_ready(self._children[name], timeout) for name in spec.after)
        )
        child.start()
        await self._wait_ready(child, timeout)
        self._report(f"{spec.name} ({spec.role}) ready after {time.monotonic() - began:.1f} s")

    async def _all_seen(self) -> None:
        """Waits until who looks after others has seen them: the control plane its engines, the
        ingress a broker. Both look twice a second, and the ingress, which takes all for up
        until it has looked, has been ready since.

        Not for long: an engine that is down is nobody's reason to withhold the rest.
        """
        urls = [f"{spec.ready_url}?engines=up" for spec in self._plan if spec.role == "control"]
        urls += [spec.ready_url for spec in self._plan if spec.role == "ingress"]
        deadline = time.monotonic() + ALL_SEEN_TIMEOUT
        for url in urls:
            while time.monotonic() < deadline:
                if await self._prober.ask(url) is None:
                    break
                await asyncio.sleep(0.1)

    async def _wait_ready(self, child: Child, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        while not child.ready.is_set():
            if child.failures >= GIVE_UP_AFTER:
                raise OkomeError(
                    f"{child.spec.name} ends again and again ({child.last_end}); "
                    f"see `okome logs {child.spec.name}`"
                )
            if time.monotonic() > deadline:
                reason = await self._prober.ask(child.spec.ready_url)
                raise OkomeError(
                    f"{child.spec.name} is not ready after {timeout:g} s: {reason}; "
                    f"see `okome logs {child.spec.name}`"
                )
            try:
                await asyncio.wait_for(child.ready.wait(), timeout=0.1)
            except TimeoutError:
                continue

    async def _wait_foreign(self, spec: ProcessSpec, timeout: float) -> None:
        deadline = time.monotonic() + min(timeout, 5.0)
        while (reason := await self._prober.ask(spec.ready_url)) is not None:
            if time.monotonic() > deadline:
                raise OkomeError(f"the engine is not there: {reason}; start it, or mend --engine")
            await asyncio.sleep(0.2)
        self._report(f"{spec.name} ({spec.role}) is an engine of yours and answers")

    def _of(self, target: str) -> list[Child]:
        node, _, role = target.partition("/")
        found = [
            spec
            for spec in self._plan
            if node in (spec.node, spec.name) and role in ("", spec.role)
        ]
        if not found:
            known = ", ".join(dict.fromkeys(f"{spec.node}/{spec.role}" for spec in self._plan))
            raise OkomeError(f"{target} is no node of this cluster; there are {known}")
        foreign = [spec.name for spec in found if spec.name not in self._children]
        if foreign:
            raise OkomeError(f"{foreign[0]} is an engine of yours; start and stop it yourself")
        return [self._children[spec.name] for spec in found]

    async def _unready(self, spec: ProcessSpec) -> str | None:
        child = self._children.get(spec.name)
        if child is not None and child.pid is None:
            return "not running"
        return await self._prober.ask(spec.ready_url)

    def _entry(self, spec: ProcessSpec, reason: str | None) -> dict[str, Any]:
        child = self._children.get(spec.name)
        entry: dict[str, Any] = {
            "name": spec.node,
            "process": spec.name,
            "role": spec.role,
            "address": spec.address,
            "port": spec.port,
            "pid": child.pid if child else None,
            "healthy": reason is None,
            "state": child.state if child else "up",
        }
        if reason is not None:
            entry["reason"] = reason
        if child is not None and child.failures and child.last_end:
            entry["last_end"] = child.last_end
        return entry
