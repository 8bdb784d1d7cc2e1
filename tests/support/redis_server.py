"""A real redis-server of a test's own, on a Unix socket or a port of the loopback."""

from __future__ import annotations

import shutil
import signal
import subprocess
from pathlib import Path

import redis

from tests.support.cluster import free_port
from tests.support.eventually import eventually


def reason_to_skip() -> str | None:
    """Why tests with a real Redis cannot run here, or None."""
    if shutil.which("redis-server") is None:
        return "no redis-server: install the package `redis-server` to test the log in Redis"
    return None


class RedisServer:
    """One process. `appendonly`: what it holds survives a restart."""

    host = "127.0.0.1"

    def __init__(self, directory: Path, *, appendonly: bool = False) -> None:
        self.port = free_port()
        self._directory = directory
        self._appendonly = "yes" if appendonly else "no"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""
        return self.host, self.port

    def start(self) -> None:
        """Starts it; returns once it answers."""
        self._process = subprocess.Popen(
            [
                *("redis-server", "--bind", self.host, "--port", str(self.port), "--save", ""),
                *("--dir", str(self._directory), "--appendonly", self._appendonly),
                *("--appendfsync", "always", "--daemonize", "no"),
            ],
            stdout=subprocess.DEVNULL,
        )
        eventually(self._answers)

    def kill(self) -> None:
        """Ends it as a power cut would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def hang(self) -> None:
        """Stops the process: connections stand, nothing is answered."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """The end of `hang`."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)

    def command(self, *words: str | int) -> object:
        """Runs one command on a connection of its own."""
        with redis.Redis(host=self.host, port=self.port) as client:
            return client.execute_command(*words)

    def _answers(self) -> bool:
        try:
            return self.command("PING") is True
        except redis.RedisError:
            return False
