"""The files of nodes as the playbook asks for them, and what it is told instead."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from inventory.load import LOCAL
from okome.deploy import observability
from okome.deploy.nodes import cache
from okome.errors import OkomeError

CLUSTER = LOCAL.with_name("cluster.yml")


@pytest.fixture
def credentials(tmp_path: Path) -> Path:
    for name in ("redis_password", "cache_password"):
        (tmp_path / name).write_text(f"{name}!\n", encoding="utf-8")
    return tmp_path


def test_the_hot_cache_forgets_and_has_a_password(credentials: Path) -> None:
    text = cache(CLUSTER, "okome-cache", credentials / "cache_password", Path("/d"), "512mb")
    lines = text.splitlines()
    for line in (
        "bind 192.168.86.19",
        "maxmemory 512mb",
        "maxmemory-policy allkeys-lru",
        'save ""',
        "appendonly no",
        'requirepass "cache_password!"',
    ):
        assert line in lines


@pytest.mark.parametrize(
    ("node", "password", "memory", "said"),
    [
        ("okome-node-01", "cache_password", "1gb", "no node of the group `cache`"),
        ("okome-cache", "nowhere", "1gb", "cannot be read"),
        ("okome-cache", "cache_password", "1gb\nsave 1 1", "is no amount of memory"),
    ],
)
def test_a_cache_that_cannot_be_is_refused(
    credentials: Path, node: str, password: str, memory: str, said: str
) -> None:
    with pytest.raises(OkomeError, match=said):
        cache(CLUSTER, node, credentials / password, Path("/d"), memory)


def test_the_exporter_knows_the_password_of_every_redis(credentials: Path) -> None:
    given = ["--inventory", str(CLUSTER), "--credentials", str(credentials)]
    done = CliRunner().invoke(observability.app, ["redis-passwords", *given])
    found = json.loads(done.output)
    assert len(found) == 13
    assert found["redis://192.168.86.44:6381"] == "redis_password!"
    assert found["redis://192.168.86.19:6379"] == "cache_password!"


def test_who_is_told_of_alerts_is_checked() -> None:
    done = CliRunner().invoke(observability.app, ["alertmanager"], input='{"webhooks": "x"}')
    assert isinstance(done.exception, OkomeError)
    assert "who is told of alerts" in str(done.exception)


@pytest.mark.parametrize("command", ["prometheus-arguments", "alertmanager-arguments"])
def test_only_observability_nodes_have_them(command: str) -> None:
    given = ["--inventory", str(CLUSTER), "--config", "/c", "--data", "/d"]
    good = CliRunner().invoke(observability.app, [command, "--node", "okome-node-10", *given])
    bad = CliRunner().invoke(observability.app, [command, "--node", "okome-node-03", *given])
    assert "192.168.86.50:909" in good.output
    assert isinstance(bad.exception, OkomeError)
