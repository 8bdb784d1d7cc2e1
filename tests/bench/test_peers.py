"""Each peer has a name, a row and a workload that says something of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.loosened import loosened
from bench.peers.all import PEERS
from bench.peers.base import Peer
from bench.workloads import WORKLOADS


@pytest.mark.parametrize("peer", PEERS.values(), ids=PEERS)
def test_what_a_peer_skips_exists(peer: Peer) -> None:
    assert peer.skips < set(WORKLOADS)


@pytest.mark.parametrize("name", ["vllm-router", "litellm", "portkey"])
def test_a_peer_that_is_not_installed_says_so(name: str, tmp_path: Path) -> None:
    assert "not installed" in str(PEERS[name].missing(tmp_path))


def test_a_quick_workload_is_a_smaller_one() -> None:
    for workload in WORKLOADS.values():
        small = workload.quick()
        assert 1 <= small.streams <= workload.streams
        assert small.window <= 2


def test_pins_are_taken_off_only_where_that_is_said() -> None:
    lines = [
        "httpx==1.0",
        "certifi>=2026.10.19; extra == 'proxy'",
        'uvicorn==0.30; extra == "proxy"',
        "redis==5; extra == 'caching'",
        "uvloop==1; sys_platform != 'win32'",
    ]
    assert loosened(lines, "proxy", ["certifi"]) == [
        "httpx==1.0",
        "certifi",
        "uvicorn==0.30",
        "uvloop==1; sys_platform != 'win32'",
    ]
