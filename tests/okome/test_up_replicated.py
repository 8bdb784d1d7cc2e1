"""`okome up` with the inventory of a replicated log: twelve real Redis, stand-ins for planes."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from inventory.load import LOCAL
from tests.okome.test_up import engine, own_engine  # noqa: F401  # a fixture
from tests.support.cluster import Cluster
from tests.support.eventually import eventually
from tests.support.nets import own_octet
from tests.support.redis_server import reason_to_skip

NET = f"127.93.{own_octet()}."
HOME = "okome-node-03"


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    if reason := reason_to_skip():
        pytest.skip(reason)
    source = LOCAL.with_name("local-replicated.yml")
    made = Cluster(tmp_path, NET, standins=True, source=source)
    try:
        yield made
    finally:
        made.down()


def redis_of(cluster: Cluster) -> dict[str, dict[str, Any]]:
    entries = cluster.status()["nodes"]
    return {f"{e['address']}:{e['port']}": e for e in entries if e["role"] == "redis"}


def test_twelve_redis_are_one_cluster_and_none_is_started_before_it_was_replaced(
    cluster: Cluster,
    own_engine: str,  # noqa: F811
) -> None:
    cluster.up(*engine(own_engine))
    status = cluster.status()
    assert status["durability"] == "replicated"
    found = redis_of(cluster)
    assert len(found) == 12
    assert {entry["state"] for entry in found.values()} == {"up"}
    eventually(lambda: all(entry["healthy"] for entry in redis_of(cluster).values()))

    home = f"{NET}43:6379"
    with redis.Redis(host=f"{NET}43", port=6379) as client:
        client.set("{n03w0}", "something to lose")
        client.wait(1, 5000)
    os.kill(found[home]["pid"], signal.SIGKILL)
    eventually(lambda: redis_of(cluster)[home]["pid"] not in (None, found[home]["pid"]), 20)

    said = (cluster.state_dir / "logs" / "supervisor.log").read_text(encoding="utf-8")
    assert f"{home} is not started before a replica has taken its place" in said
    eventually(lambda: redis_of(cluster)[home]["healthy"], 20)
    said_later = cluster.state_dir / "logs" / "supervisor.log"
    eventually(lambda: f"{home}: CLUSTER FAILOVER" in said_later.read_text(encoding="utf-8"), 20)
    with redis.Redis(host=f"{NET}43", port=6379) as client:
        eventually(lambda: client.execute_command("ROLE")[0] == b"master")
        assert client.get("{n03w0}") == b"something to lose"


def test_a_node_goes_down_and_comes_back_as_a_whole(
    cluster: Cluster,
    own_engine: str,  # noqa: F811
) -> None:
    cluster.up(*engine(own_engine))
    cluster.stop(HOME)
    entries = [entry for entry in cluster.status()["nodes"] if entry["name"] == HOME]
    assert [(entry["role"], entry["state"]) for entry in entries] == [
        ("stream", "stopped"), ("redis", "stopped"), ("redis", "stopped"), ("redis", "stopped"),
    ]  # fmt: skip
    cluster.start(HOME)
    assert all(entry["healthy"] for entry in cluster.status()["nodes"] if entry["name"] == HOME)
    cluster.drain(HOME)
    eventually(lambda: cluster.node(HOME)["state"] == "stopped")
    left = [entry for entry in redis_of(cluster).values() if entry["name"] == HOME]
    assert {entry["state"] for entry in left} == {"up"}
