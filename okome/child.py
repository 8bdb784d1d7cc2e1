"""One process of the cluster, kept alive: started, watched, restarted, held down."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
from collections.abc import Awaitable, Callable, Mapping
from typing import Literal

from okome.backoff import delay
from okome.logfile import BoundedLog
from okome.plan import ProcessSpec
from okome.probe import Prober

Gate = Callable[[ProcessSpec], Awaitable[None]]
State = Literal["up", "stopped", "restarting", "draining"]

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True)


class Child:
    """Keeps one process running until it is held down.

    `state` is what `okome status` shows. `ready` says that the present process has once
    answered its readiness question; `failures` counts ends in a row without that. `gate`
    returns when the process may be started.
    """

    def __init__(
        self,
        spec: ProcessSpec,
        log: BoundedLog,
        prober: Prober,
        environment: Mapping[str, str],
        report: Callable[[str], None],
        gate: Gate | None = None,
    ) -> None:
        self.spec = spec
        self.log = log
        self.state: State = "stopped"
        self.pid: int | None = None
        self.failures = 0
        self.last_end: str | None = None
        self.ready = asyncio.Event()
        self._prober = prober
        self._environment = environment
        self._report = report
        self._gate = gate
        self._keeper: asyncio.Task[None] | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._held = False

    def start(self) -> None:
        """Starts the process and keeps it running. Nothing to do when it is kept already."""
        if self._keeper is None or self._keeper.done():
            self._held = False
            self.failures = 0
            self.state = "restarting"
            self._keeper = asyncio.create_task(self._keep(), name=f"keep {self.spec.name}")

    def drain(self) -> None:
        """Asks the process to finish what it does and end; it is held down after that."""
        if self._process is None:
            self._cancel_restart()
        else:
            self._held = True
            self.state = "draining"
            self._process.send_signal(signal.SIGTERM)

    async def stop(self, grace: float) -> None:
        """Ends the process and holds it down: SIGTERM, then SIGKILL after `grace` seconds.

        A grace of 0 kills at once.
        """
        keeper = self._keeper
        if keeper is None:
            return
        self._held = True
        if self._process is None:
            self._cancel_restart()
        elif grace > 0:
            self._process.send_signal(signal.SIGTERM)
            await asyncio.wait([keeper], timeout=grace)
        if self._process is not None:
            self._kill(self._process)
        await asyncio.wait([keeper])

    def kill(self) -> None:
        """Kills the process without waiting; used when there is no more time."""
        if self._process is not None:
            self._kill(self._process)

    def _kill(self, process: asyncio.subprocess.Process) -> None:
        # The whole group, while its leader is not yet reaped and the number is surely ours.
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)

    def _cancel_restart(self) -> None:
        self._held = True
        self.state = "stopped"
        if self._keeper is not None:
            self._keeper.cancel()

    async def _keep(self) -> None:
        while True:
            if self._gate is not None:
                await self._gate(self.spec)
            await self._run_once()
            if self._held:
                self.state = "stopped"
                return
            wait = delay(self.failures)
            self.failures += 1
            self.state = "restarting"
            self._report(f"{self.spec.name} ended ({self.last_end}); starting it again")
            await asyncio.sleep(wait)

    async def _run_once(self) -> None:
        """One life of the process, from start to end."""
        self.log.forget()
        try:
            output = await self._spawn()
        except OSError as error:
            self.last_end = f"cannot be started: {error.strerror}"
            return
        assert self._process is not None  # noqa: S101  # set by _spawn
        self.state = "up" if not self._held else self.state
        watcher = asyncio.create_task(self._watch_ready())
        try:
            await self._process.wait()
        finally:
            watcher.cancel()
            self.ready.clear()
            # What it said last may still be in the pipe; a grandchild may hold it open.
            await asyncio.wait([output], timeout=0.2)
            output.cancel()
            self.last_end = describe_end(self._process.returncode or 0, self.log.last_line)
            self._process, self.pid = None, None

    async def _spawn(self) -> asyncio.Task[None]:
        """Starts the process; returns the task that carries its output to the log."""
        read, write = os.pipe()
        try:
            self._process = await asyncio.create_subprocess_exec(
                *(self.spec.argv or ()),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=write,
                stderr=write,
                env=dict(self._environment),
                # Its own session: the terminal's Ctrl-C goes to us alone, and we end in order.
                start_new_session=True,
                preexec_fn=die_with(os.getpid()),
            )
        except OSError:
            os.close(read)
            raise
        finally:
            os.close(write)
        self.pid = self._process.pid
        return asyncio.create_task(self._copy_output(read))

    async def _copy_output(self, descriptor: int) -> None:
        reader = asyncio.StreamReader()
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(descriptor, "rb", 0)
        )
        try:
            while data := await reader.read(1 << 16):
                self.log.write(data)
        finally:
            transport.close()

    async def _watch_ready(self) -> None:
        pause = 0.03
        while await self._prober.ask(self.spec.ready_url) is not None:
            await asyncio.sleep(pause)
            pause = min(pause * 1.3, 0.25)
        self.failures = 0
        self.ready.set()


def describe_end(code: int, last_line: str) -> str:
    """How a process ended, in words, with the last thing it said."""
    how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
    return f"{how}: {last_line}" if last_line and code > 0 else how


def die_with(parent: int) -> Callable[[], None]:
    """What a new process does before it becomes the program: it dies when `parent` dies.

    So nothing survives, even when the supervisor itself is killed with -9.
    """

    def arrange() -> None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        # The parent may have died before the call: then nobody will ever tell us.
        if os.getppid() != parent:
            os._exit(1)

    return arrange
