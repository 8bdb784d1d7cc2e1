"""Every peer by name, in the order of the table."""

from __future__ import annotations

from bench.peers import direct, haproxy, litellm, nginx, okome, portkey, vllm_router
from bench.peers.base import Peer

PEERS: dict[str, Peer] = {
    peer.name: peer
    for peer in (
        direct.PEER,
        nginx.PEER,
        haproxy.PEER,
        vllm_router.PEER,
        *okome.PEERS,
        portkey.PEER,
        litellm.PEER,
    )
}
