"""No proxy: what the harness itself costs. Every other row contains this one."""

from __future__ import annotations

from bench.peers.base import ENGINE, Ground, Peer
from bench.spec import Target


def _start(_: Ground) -> Target:
    return Target(*ENGINE)


PEER = Peer(
    "direct",
    "none (the harness itself)",
    _start,
    lambda _: "",
    skips=frozenset({"frozen", "flood"}),
)
