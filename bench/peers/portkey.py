"""Portkey's gateway on Node, told by headers where the engine is."""

from __future__ import annotations

import os
from pathlib import Path

from bench.peers.base import ENGINE, PROXY, Ground, Peer, engine_url
from bench.spec import Target
from okome.programs import find_program

VERSION = "1.15.2"
# It listens on every address of the machine and has no option for that.
_ON_LOOPBACK = f"""\
const net = require("node:net");
const listen = net.Server.prototype.listen;
net.Server.prototype.listen = function (port, host, ...rest) {{
  return listen.call(this, port, host ?? "{PROXY[0]}", ...rest);
}};
"""


def _server(cache: Path) -> Path:
    package = cache / f"portkey-{VERSION}" / "node_modules" / "@portkey-ai" / "gateway"
    return package / "build" / "start-server.js"


def _missing(cache: Path) -> str | None:
    if find_program("node", os.environ) is None:
        return "node is not installed (apt-get install nodejs npm)"
    return None if _server(cache).exists() else "Portkey is not installed (scripts/bench)"


def _start(ground: Ground) -> Target:
    ground.proxy(
        "portkey",
        str(find_program("node", os.environ)),
        *("--require", ground.write("loopback.cjs", _ON_LOOPBACK)),
        *(str(_server(ground.cache)), f"--port={PROXY[1]}", "--headless"),
        NODE_ENV="production",
        TRUSTED_CUSTOM_HOSTS=ENGINE[0],
    )
    headers = {
        "x-portkey-provider": "openai",
        "x-portkey-custom-host": f"{engine_url()}/v1",
        "Authorization": "Bearer none",
    }
    return Target(*PROXY, headers)


PEER = Peer(
    "portkey",
    "Portkey gateway",
    _start,
    lambda _: VERSION,
    _missing,
    skips=frozenset({"silent", "frozen", "flood"}),
)
