"""What is said of a Redis that the log cannot use, before anybody streams."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stream_broker.log.preflight import LogRefused, check, fatal, passing_fault
from stream_broker.log.stores import OneStore
from tests.support.cluster import free_port
from tests.support.redis_cluster import ClusterServers
from tests.support.redis_server import RedisServer

FINE: dict[str, Any] = {
    "redis_version": "7.0.15",
    "cluster_enabled": 0,
    "maxmemory_policy": "noeviction",
    "maxmemory": 0,
    "used_memory": 1,
    "role": "master",
}


@pytest.fixture
def server(own_server: RedisServer) -> Iterator[RedisServer]:
    own_server.start()
    return own_server


async def look(server: RedisServer, password: str = "") -> None:
    store = OneStore(server.address, password=password)
    await store.check()
    await store.aclose()


async def test_a_redis_that_will_do_is_not_spoken_of(
    server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    await look(server)
    assert caplog.text == ""


async def test_a_password_that_is_missing_or_wrong_is_said(server: RedisServer) -> None:
    server.command("CONFIG", "SET", "requirepass", "right")
    with pytest.raises(LogRefused, match="wants a password"):
        await look(server)
    with pytest.raises(LogRefused, match=f"{server.port} refuses the password"):
        await look(server, "wrong")
    await look(server, "right")


async def test_a_member_of_a_cluster_is_not_for_one_machine(
    cluster_servers: ClusterServers, server: RedisServer
) -> None:
    store = next(iter(cluster_servers.stores.values()))
    with pytest.raises(LogRefused, match="is a member of a cluster"):
        await check(((store.address, store.port),), "", clustered=False)
    with pytest.raises(LogRefused, match="is no member of a cluster"):
        await check((server.address,), "", clustered=True)
    everybody = tuple((s.address, s.port) for s in cluster_servers.stores.values())
    await check(everybody, "", clustered=True)


async def test_what_may_pass_is_only_mentioned(
    server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    server.command("CONFIG", "SET", "maxmemory", 1)
    await look(server)
    assert "is full" in caplog.text
    server.command("CONFIG", "SET", "maxmemory", 0)
    server.command("REPLICAOF", "127.0.0.1", free_port())
    await look(server)
    assert "is a read-only replica" in caplog.text
    await check((("127.0.0.1", free_port()),), "", clustered=False)
    assert "does not answer yet" in caplog.text


@pytest.mark.parametrize("version", ["6.2.7", "5.0", "0"])
def test_a_version_that_is_too_old_is_refused(version: str) -> None:
    said = f"is version {version}; 7.0 or later is needed"
    assert fatal(FINE | {"redis_version": version}, clustered=False) == said


@pytest.mark.parametrize("version", ["7.0.0", "7.2.4", "8.0-rc1", "10.1.0"])
def test_a_later_version_will_do(version: str) -> None:
    assert fatal(FINE | {"redis_version": version}, clustered=False) is None


def test_one_that_evicts_is_mentioned() -> None:
    said = passing_fault(FINE | {"maxmemory_policy": "allkeys-lru"}, clustered=False)
    assert said == "drops what it holds when it is full (maxmemory-policy allkeys-lru)"
    assert passing_fault(FINE, clustered=False) is None
    assert passing_fault(FINE | {"role": "slave"}, clustered=True) is None


def test_the_broker_says_it_in_one_line(server: RedisServer, tmp_path: Path) -> None:
    """`python -m stream_broker` ends with status 2."""
    import subprocess
    import sys

    from inventory.load import LOCAL

    server.command("CONFIG", "SET", "requirepass", "right")
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    (credentials / "service_key").write_text("k")
    text = LOCAL.read_text().replace("okome_redis_port: 6379", f"okome_redis_port: {server.port}")
    text = text.replace("127.86.0.17", server.host)
    text = text.replace("okome_broker_port: 8100", f"okome_broker_port: {free_port()}")
    inventory = tmp_path / "inventory.yml"
    inventory.write_text(text)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "stream_broker", "--inventory", str(inventory)),
            *("--node", "okome-node-03", "--state", str(tmp_path)),
            *("--credentials", str(credentials)),
        ],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr == (
        f"stream_broker: the log's Redis at {server.host}:{server.port} wants a password; "
        "put it into credentials/redis_password\n"
    )
