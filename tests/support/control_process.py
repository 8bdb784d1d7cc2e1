"""The real process, `python -m control_plane`, over a directory of a test's or a bench's own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from sqlalchemy import URL, update

from control_plane.store.database import Database
from control_plane.store.engines import sqlite_url
from control_plane.store.schema import tiers
from control_plane.store.users import seed
from tests.control_plane.harness import ADMIN_KEY, API_KEY, DATA_KEY_TEXT, SERVICE_KEY, SESSION_KEY
from tests.support.cluster import ROOT, free_port

MODEL = "small"
# A cluster without any engine, and an engine for it.
BARE_INVENTORY = """
all:
  vars:
    okome_cluster: test
    okome_vip: 127.0.0.1
    okome_ingress_port: 8080
    okome_stats_port: 8404
    okome_broker_port: 8100
    okome_control_port: {port}
    okome_redis_port: 6379
    okome_durability: none
  children:
    stream:
      hosts: {{n3: {{ansible_host: 127.0.0.3, okome_number: 3, okome_log_tags: [n03w0]}}}}
    control:
      hosts: {{control: {{ansible_host: 127.0.0.1, okome_number: 25}}}}
"""
_ENGINE = """\
    core_gpu:
      hosts:
        gpu:
          ansible_host: 127.0.0.30
          okome_number: 30
          okome_engines:
            - kind: vllm
              port: {engine}
              url: http://127.0.0.1:{engine}
              model: {model}
              context: 2048
"""


class HealthyEngine:
    """Answers every health check with 200. `close` after use."""

    def __init__(self) -> None:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _Always)
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def close(self) -> None:
        """Ends it."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Always(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_POST = do_GET  # noqa: N815  # the name that the server looks for

    def log_message(self, *_: Any) -> None:
        """Nothing."""


class ControlProcess:
    """One control plane with one model. `database`: a PostgreSQL, else a file of its own. A
    file `policy.yml` in its directory is its policy."""

    def __init__(self, directory: Path, engine_port: int, database: URL | None = None) -> None:
        self.policy = directory / "policy.yml"
        self.port = free_port()
        self.database = database or sqlite_url(directory / "state")
        self._directory = directory
        self._process: subprocess.Popen[str] | None = None
        inventory = (BARE_INVENTORY + _ENGINE).format(
            port=self.port, engine=engine_port, model=MODEL
        )
        (directory / "inventory.yml").write_text(inventory, encoding="utf-8")
        pem = SESSION_KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        secrets = {
            "service_key": SERVICE_KEY,
            "admin_key": ADMIN_KEY,
            "api_key": API_KEY,
            "session_key": pem.decode(),
            "data_key": DATA_KEY_TEXT,
        }
        if database is not None:
            secrets["database_url"] = database.set(drivername="postgresql").render_as_string(False)
        (directory / "credentials").mkdir()
        for name, secret in secrets.items():
            (directory / "credentials" / name).write_text(secret, encoding="ascii")

    @property
    def url(self) -> str:
        """Where it serves."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self._process is not None
        return self._process.pid

    async def allow(self, now: float, **limits: int) -> None:
        """What everybody may use, from its next start on."""
        database = Database(self.database, timeout_s=10.0)
        await database.open(now)
        await database.run(lambda c: seed(c, API_KEY, now))
        await database.run(lambda c: c.execute(update(tiers).values(**limits)), durable=True)
        await database.close()

    def command(self, *more: str) -> list[str]:
        """The command line, and `more`."""
        places = {name: str(self._directory / name) for name in ("state", "credentials")}
        return [
            *(sys.executable, "-m", "control_plane"),
            *("--inventory", str(self._directory / "inventory.yml")),
            *("--state", places["state"], "--credentials", places["credentials"]),
            *(("--policy", str(self.policy)) if self.policy.exists() else ()),
            *more,
        ]

    def start(self, *settings: str, before: Sequence[str] = ()) -> None:
        """Returns once it serves. `before`: what runs it, as `taskset -c 1`."""
        self._process = subprocess.Popen(
            [
                *before,
                *self.command(*(word for setting in settings for word in ("--set", setting))),
            ],
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        stderr = self._process.stderr
        assert stderr is not None
        while "serving" not in (line := stderr.readline()):
            assert line or self._process.poll() is None, "it did not start"
        # What it says later must not fill the pipe.
        threading.Thread(target=stderr.read, daemon=True).start()

    def signal(self, number: signal.Signals) -> None:
        """Sends it a signal."""
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        """As the kernel would, out of memory. Idempotent."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            if self._process.stderr:
                self._process.stderr.close()
            self._process = None
