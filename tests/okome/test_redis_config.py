"""What each Redis is told, and that a real one takes it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from inventory.load import LOCAL, load_cluster
from inventory.model import LogStore
from okome import redis_commands
from okome.redis_config import render, render_cache
from tests.support.redis_server import reason_to_skip

STORE = load_cluster(LOCAL.with_name("local-replicated.yml")).log_stores()[1]


def settings(text: str) -> dict[str, str]:
    return dict(line.split(" ", 1) for line in text.splitlines())


def test_the_hot_cache_evicts_and_keeps_nothing(tmp_path: Path) -> None:
    (node,) = load_cluster(LOCAL).role("cache")
    told = settings(render_cache(node, tmp_path, password='"s'))
    assert (told["bind"], told["port"]) == ("127.86.0.19", "6379")
    assert (told["maxmemory"], told["maxmemory-policy"]) == ("64mb", "allkeys-lru")
    assert (told["appendonly"], told["save"]) == ("no", '""')
    assert told["requirepass"] == '"\\"s"'
    assert "masterauth" not in told


def test_a_member_of_the_cluster_is_told_all_that_the_design_names(tmp_path: Path) -> None:
    told = settings(render(STORE, tmp_path / "my place", clustered=True))
    assert told == {
        "bind": "127.86.0.43",
        "port": "6380",
        "protected-mode": "no",
        "daemonize": "no",
        "supervised": "no",
        "logfile": '""',
        "loglevel": "notice",
        "dir": f'"{tmp_path}/my place"',
        "appendonly": "no",
        "appendfsync": "everysec",
        "save": '""',
        "maxmemory": "512mb",
        "maxmemory-policy": "noeviction",
        "tcp-keepalive": "60",
        "timeout": "0",
        "bind-source-addr": "127.86.0.43",
        "cluster-enabled": "yes",
        "cluster-config-file": "nodes.conf",
        "cluster-announce-ip": "127.86.0.43",
        "cluster-node-timeout": "900",
        "cluster-require-full-coverage": "no",
        "cluster-allow-replica-migration": "no",
        "cluster-replica-no-failover": "yes",
        "replica-priority": "100",
        "repl-diskless-sync": "yes",
        "repl-diskless-sync-delay": "0",
        "repl-diskless-load": "on-empty-db",
        "rdb-del-sync-files": "yes",
        "repl-backlog-size": "16mb",
        "repl-ping-replica-period": "1",
    }


def test_one_for_all_brokers_is_no_member_of_a_cluster(tmp_path: Path) -> None:
    (store,) = load_cluster(LOCAL).log_stores()
    told = settings(render(store, tmp_path, clustered=False))
    assert "cluster-enabled" not in told
    assert (told["appendonly"], told["maxmemory-policy"]) == ("yes", "noeviction")


def test_on_a_network_nobody_gets_in_without_the_password(tmp_path: Path) -> None:
    store = LogStore("okome-node-03", "192.168.86.43", 6379, "okome-node-03")
    assert settings(render(store, tmp_path, clustered=True))["protected-mode"] == "yes"
    told = settings(render(store, tmp_path, clustered=True, password='a "b'))
    assert told["requirepass"] == told["masterauth"] == '"a \\"b"'


@pytest.mark.skipif(bool(reason_to_skip()), reason=str(reason_to_skip()))
def test_redis_takes_it(tmp_path: Path) -> None:
    config = tmp_path / "redis.conf"
    config.write_text(render(STORE, tmp_path, clustered=True, password="x"), encoding="utf-8")
    # With a port that cannot be had it reads everything and ends.
    told = subprocess.run(
        ["redis-server", str(config), "--port", "0", "--cluster-port", "1", "--nonsense", "x"],
        capture_output=True,
        text=True,
        timeout=10,
        check=False,
    )
    assert "nonsense" in told.stderr + told.stdout
    assert told.returncode == 1


def test_all_configurations_at_once_are_those_of_each(tmp_path: Path) -> None:
    password = tmp_path / "password"
    password.write_text("secret-of-the-log")
    inventory = LOCAL.with_name("local-replicated.yml")
    every = redis_commands.configs(inventory, Path("/var/lib/x"), password)
    stores = load_cluster(inventory).log_stores()
    assert sum(map(len, every.values())) == len(stores)
    for store in stores:
        one = redis_commands.config(
            inventory, store.name, Path(f"/var/lib/x/{store.port}"), password
        )
        assert every[store.address][str(store.port)] == one
