"""nginx as a raw pass-through: one worker, unbuffered, connections to the engine kept."""

from __future__ import annotations

import os
from pathlib import Path

from bench.peers.base import ENGINE, NO_FLOOD, PROXY, Ground, Peer, first_line
from bench.spec import Target
from okome.programs import find_program


def _program() -> str | None:
    return find_program("nginx", os.environ)


def _missing(_: Path) -> str | None:
    return None if _program() else "nginx is not installed (apt-get install nginx-light)"


def _version(_: Path) -> str:
    return first_line(str(_program()), "-v").rpartition("/")[2]


def _start(ground: Ground) -> Target:
    config = ground.write("nginx.conf", _config(ground.work))
    ground.proxy("nginx", str(_program()), "-c", config, "-p", str(ground.work))
    return Target(*PROXY)


def _config(work: Path) -> str:
    temporary = "\n".join(
        f"    {kind}_temp_path {work}/{kind};"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    # Started by root it would become another user, who may not enter `work`.
    user = "user root;" if os.geteuid() == 0 else ""
    return f"""\
daemon off;
{user}
worker_processes 1;
worker_rlimit_nofile 65536;
pid {work}/nginx.pid;
error_log stderr error;
events {{ worker_connections 32768; }}
http {{
    access_log off;
{temporary}
    upstream engine {{
        server {ENGINE[0]}:{ENGINE[1]};
        keepalive 1024;
    }}
    server {{
        listen {PROXY[0]}:{PROXY[1]} backlog=8192;
        keepalive_requests 1000000;
        location / {{
            proxy_pass http://engine;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_buffering off;
            proxy_read_timeout 1h;
            proxy_send_timeout 1h;
        }}
    }}
}}
"""


PEER = Peer("nginx", "nginx (raw pass-through)", _start, _version, _missing, NO_FLOOD)
