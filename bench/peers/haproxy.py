"""HAProxy as a raw pass-through: one thread, defaults but for timeouts and limits."""

from __future__ import annotations

import os
from pathlib import Path

from bench.peers.base import ENGINE, NO_FLOOD, PROXY, Ground, Peer, first_line
from bench.spec import Target
from okome.programs import find_program

# Two descriptors a connection, and a common hard limit is 20,000.
_CONFIG = f"""\
global
    nbthread 1
    maxconn 9000
defaults
    mode http
    timeout connect 10s
    timeout client 1h
    timeout server 1h
    http-reuse always
    # Without it a chunk is held back for more to come: 100 ms and more, measured.
    option http-no-delay
frontend in
    bind {PROXY[0]}:{PROXY[1]} backlog 8192
    maxconn 9000
    default_backend engine
backend engine
    server engine {ENGINE[0]}:{ENGINE[1]}
"""


def _program() -> str | None:
    return find_program("haproxy", os.environ)


def _missing(_: Path) -> str | None:
    return None if _program() else "haproxy is not installed (apt-get install haproxy)"


def _version(_: Path) -> str:
    return first_line(str(_program()), "-v").split()[2]


def _start(ground: Ground) -> Target:
    config = ground.write("haproxy.cfg", _CONFIG)
    ground.proxy("haproxy", str(_program()), "-db", "-f", config)
    return Target(*PROXY)


PEER = Peer("haproxy", "HAProxy (raw pass-through)", _start, _version, _missing, NO_FLOOD)
