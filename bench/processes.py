"""Programs that are started for one measurement, each on a core, and end with it."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType

from okome.child import die_with

HARNESS_CORE = 0
PROXY_CORE = 1
# What a program of this repository needs to be found, from whatever directory.
OURS = {"PYTHONPATH": str(Path(__file__).parent.parent)}


class BenchError(Exception):
    """A measurement cannot be made; the message says why in one line."""


class Processes:
    """Starts programs; ends all of them with the `with` block. `logs` holds what they say."""

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Processes:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for process in self._running.values():
            if process.poll() is None:
                # A master waits for its streams, or passes a signal on late: all at once.
                os.killpg(process.pid, signal.SIGKILL)
        for process in self._running.values():
            process.wait()

    def start(
        self, name: str, argv: Sequence[str], core: int, environment: Mapping[str, str] = {}
    ) -> int:
        """The process id of a program that is pinned to a core from its first instruction."""
        arrange = _pinned(core, die_with(os.getpid()))
        inherited = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        with (self._logs / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._logs,
                env={**inherited, "NO_PROXY": "*", **environment},
                start_new_session=True,
                preexec_fn=arrange,
            )
        self._running[name] = process
        return process.pid

    def check(self) -> None:
        """Raises BenchError when one of them has ended."""
        for name, process in self._running.items():
            if process.poll() is not None:
                raise BenchError(f"{name} ended with {process.returncode}: {self._last(name)}")

    def wait(self, ready: Callable[[], str | None], seconds: float) -> None:
        """Until `ready` has nothing to complain of. Raises BenchError."""
        deadline = time.monotonic() + seconds
        while complaint := ready():
            self.check()
            if time.monotonic() > deadline:
                raise BenchError(f"not ready after {seconds:.0f} s: {complaint}")
            time.sleep(0.05)

    def _last(self, name: str) -> str:
        lines = (self._logs / f"{name}.log").read_text("utf-8", "replace").splitlines()
        return next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")


def _pinned(core: int, then: Callable[[], None]) -> Callable[[], None]:
    def arrange() -> None:
        os.sched_setaffinity(0, {core})
        then()

    return arrange
