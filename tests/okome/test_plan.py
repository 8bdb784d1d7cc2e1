"""What is started on a machine that has everything, and on one that lacks something."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from inventory.load import LOCAL, load_cluster
from okome.derive import derive, parse_engine, write_inventory
from okome.errors import OkomeError
from okome.paths import Paths
from okome.plan import Arguments, Programs, base_url, browser_url, make_plan

FULL = Programs(
    haproxy="/usr/sbin/haproxy",
    redis="/usr/bin/redis-server",
    model=Path("m.gguf"),
    prometheus="/usr/bin/prometheus",
)


def test_a_full_machine_runs_every_role(paths: Paths) -> None:
    plan = make_plan(load_cluster(LOCAL), paths, FULL, Arguments())

    assert [spec.role for spec in plan] == [
        "ingress", "stream", "stream", "stream", "stream", "redis", "cache", "control", "core_gpu",
        "observability", "observability",
    ]  # fmt: skip
    assert all(spec.after == ("okome-redis",) for spec in plan if spec.role == "stream")
    assert len({listen for spec in plan for listen in spec.listens}) == 14


def test_settings_reach_both_planes(paths: Paths, tmp_path: Path) -> None:
    file = tmp_path / "my settings.yml"
    plan = make_plan(load_cluster(LOCAL), paths, FULL, Arguments(file, ("heartbeat=3",)))

    for spec in plan:
        given = ("--settings", str(file), "--set", "heartbeat=3")
        assert (spec.argv or ())[-4:] == given or spec.role not in ("stream", "control")


def test_without_haproxy_clients_talk_to_the_first_broker(paths: Paths) -> None:
    cluster, programs = load_cluster(LOCAL), replace(FULL, haproxy=None)

    assert "ingress" not in {spec.role for spec in make_plan(cluster, paths, programs, Arguments())}
    assert base_url(cluster, programs) == "http://127.86.0.43:8100"
    assert browser_url(cluster, programs) == "http://127.86.0.43:8100"


def test_with_haproxy_the_browser_uses_localhost() -> None:
    cluster = load_cluster(LOCAL)
    assert base_url(cluster, FULL) == "http://127.86.0.18:8080"
    assert browser_url(cluster, FULL) == "http://localhost:8080"


def test_two_workers_are_two_processes(paths: Paths, tmp_path: Path) -> None:
    inventory = tmp_path / "inventory.yml"
    text = LOCAL.read_text(encoding="utf-8").replace("[n03w0]", "[n03w0, n03w1]")
    inventory.write_text(text, encoding="utf-8")

    plan = make_plan(load_cluster(inventory), paths, FULL, Arguments())

    node = [spec for spec in plan if spec.node == "okome-node-03"]
    assert [(spec.name, spec.port) for spec in node] == [
        ("okome-node-03.w0", 8100),
        ("okome-node-03.w1", 8101),
    ]


def test_without_redis_the_durability_is_none(tmp_path: Path) -> None:
    raw = yaml.safe_load(LOCAL.read_text(encoding="utf-8"))
    target = tmp_path / "derived.yml"

    write_inventory(derive(raw, redis=False, engine=None), LOCAL, target)

    cluster = load_cluster(target)
    assert cluster.durability == "none"
    assert cluster.role("redis") == cluster.role("cache") == ()
    assert load_cluster(LOCAL).durability == "local"


def test_an_engine_of_ones_own_takes_the_place_of_the_embedded_one(
    tmp_path: Path, paths: Paths
) -> None:
    raw = yaml.safe_load(LOCAL.read_text(encoding="utf-8"))
    target = tmp_path / "derived.yml"
    engine = parse_engine("http://10.0.0.9:11434/v1/", "ollama", "qwen3:8b", 32768)

    write_inventory(derive(raw, redis=True, engine=engine), LOCAL, target)

    cluster = load_cluster(target)
    (node,) = cluster.role("core_gpu")
    (spec,) = node.engines
    assert (spec.kind, spec.base_url, spec.model) == ("ollama", "http://10.0.0.9:11434", "qwen3:8b")
    plan = make_plan(cluster, paths, replace(FULL, model=None), Arguments())
    own = next(spec for spec in plan if spec.role == "core_gpu")
    assert own.argv is None
    assert (own.address, own.port) == ("10.0.0.9", 11434)
    assert own.ready_url == "http://10.0.0.9:11434/api/version"


@pytest.mark.parametrize("url", ["10.0.0.9:8000", "ftp://x", "http://", "nonsense"])
def test_a_url_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(OkomeError, match="expected a URL"):
        parse_engine(url, "vllm", "m", 1)
