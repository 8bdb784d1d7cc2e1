"""A real PostgreSQL of the tests' own, with private data, on a port of the loopback."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from itertools import count
from pathlib import Path

import psycopg
from sqlalchemy.engine import URL

from control_plane.store.engines import postgres_url
from tests.support.cluster import free_port
from tests.support.eventually import eventually


def _programs() -> Path | None:
    """Where initdb and postgres are; Debian keeps them off the PATH."""
    on_path = shutil.which("initdb")
    places = [Path(on_path).resolve().parent] if on_path else []
    places += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((place for place in places if (place / "initdb").exists()), None)


def reason_to_skip() -> str | None:
    """Why tests with a real PostgreSQL cannot run here, or None."""
    if _programs() is None:
        return "no initdb: install the package `postgresql` to test with a PostgreSQL"
    return None


class PostgresServer:
    """One server. `durable`: it waits for the disk, as in earnest. `stop` after use."""

    host = "127.0.0.1"

    def __init__(self, *, durable: bool = False) -> None:
        self.port = free_port()
        self._durable = "on" if durable else "off"
        self._numbers = count(1)
        self._process: subprocess.Popen[bytes] | None = None
        # It refuses to run as root, and to read what belongs to another user.
        self._user = "nobody" if os.getuid() == 0 else None
        self._place = Path(tempfile.mkdtemp(prefix="okome-postgres-"))
        if self._user:
            shutil.chown(self._place, self._user)
        self._run("initdb", "--auth=trust", "--username=okome", "--encoding=UTF8", "--no-sync")

    @property
    def pid(self) -> int:
        """Its process, above all of its others."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Starts it; returns once it answers."""
        self._launch()
        eventually(self._answers, within=30.0)

    def _launch(self) -> None:
        options = {
            "listen_addresses": self.host,
            "port": self.port,
            "unix_socket_directories": "",
            "fsync": self._durable,
            "max_connections": 40,
        }
        settings = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
        self._process = subprocess.Popen(
            [self._program("postgres"), "-D", str(self._place / "data"), *settings],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            user=self._user,
            cwd="/",
        )

    def fresh(self) -> URL:
        """A database with nothing in it."""
        name = f"test_{next(self._numbers)}"
        self.command("postgres", f"CREATE DATABASE {name}")
        return postgres_url(f"postgresql://okome@{self.host}:{self.port}/{name}")

    def command(self, database: str, statement: str) -> None:
        """Runs one statement on a connection of its own."""
        with psycopg.connect(self._connection(database), autocommit=True) as connection:
            connection.execute(statement.encode())

    def kill(self) -> None:
        """Ends it as a power cut would: no connection is told."""
        if self._process is not None:
            # The server itself; its children see that it has gone and end.
            self._process.kill()
            self._process.wait()
            self._process = None

    def freeze(self) -> None:
        """Nothing of it runs; the kernel takes what it is sent. Until `thaw`."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """It goes on."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text(encoding="ascii")
        for pid in (self.pid, *map(int, children.split())):
            os.kill(pid, number)

    def restart(self) -> None:
        """Every connection is cut, and a moment later it answers again."""
        self._run("pg_ctl", "stop", "--mode=immediate")
        if self._process is not None:
            self._process.wait()
        self.start()

    def stop(self) -> None:
        """Ends it and removes its data. Idempotent."""
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT)  # nothing of it is kept
            try:
                self._process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                self.kill()
            self._process = None
        shutil.rmtree(self._place, ignore_errors=True)

    def _run(self, program: str, *arguments: str) -> None:
        subprocess.run(
            [self._program(program), "-D", str(self._place / "data"), *arguments],
            check=True,
            capture_output=True,
            user=self._user,
            cwd="/",
        )

    def _program(self, name: str) -> str:
        programs = _programs()
        assert programs is not None, reason_to_skip()
        return str(programs / name)

    def _connection(self, database: str) -> str:
        return f"host={self.host} port={self.port} user=okome dbname={database} connect_timeout=2"

    def _answers(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            # After a kill its children may hold its memory for a moment longer.
            self._launch()
        try:
            self.command("postgres", "SELECT 1")
        except psycopg.Error:
            return False
        return True
