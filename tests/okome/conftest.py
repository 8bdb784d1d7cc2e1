"""Fixtures for the launcher: a place for its files, and trivial real child processes."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from okome.paths import Paths
from okome.plan import ProcessSpec
from tests.support.nets import own_octet


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    """Paths with a space in them: they must work everywhere."""
    return Paths(state=tmp_path / "my state", runtime=tmp_path / "run")


# Answers every GET with 200; the file named by OKOME_TEST_UNREADY, while it is there, with 503.
SERVER = """
import http.server, os, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(503 if os.path.exists(sys.argv[3]) else 200)
        self.send_header('Content-Length', '0')
        self.end_headers()
    def log_message(self, *args): pass
print('listening', flush=True)
http.server.HTTPServer((sys.argv[1], int(sys.argv[2])), Handler).serve_forever()
"""

MakeSpec = Callable[..., ProcessSpec]


@pytest.fixture
def make_spec(tmp_path: Path) -> MakeSpec:
    """A spec of a real, tiny HTTP server on an address of its own."""

    def make(name: str, number: int, code: str = SERVER, **changes: object) -> ProcessSpec:
        address, port = f"127.90.{own_octet()}.{number}", 8100
        fields: dict[str, object] = {
            "name": name,
            "node": name,
            "role": "stream",
            "address": address,
            "port": port,
            "ready_url": f"http://{address}:{port}/readyz",
            "argv": (sys.executable, "-c", code, address, str(port), str(tmp_path / "unready")),
        }
        return ProcessSpec(**(fields | changes))  # type: ignore[arg-type]

    return make
