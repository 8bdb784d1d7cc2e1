"""Prometheus' own checker reads what is made; what each inventory has is asked, bounded."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path, PurePath
from typing import Any

import pytest
import yaml

from inventory.load import LOCAL, load_cluster
from inventory.model import EngineSpec
from observability.scraping import ChannelFiles, Retention, Scraping, arguments, render
from okome.programs import find_program

CLUSTER = LOCAL.with_name("cluster.yml")
RULES = PurePath("/etc/okome/rules/*.yml")
CHANNEL = ChannelFiles(PurePath("/etc/ca"), PurePath("/etc/cert"), PurePath("/etc/key"))
FULL = Scraping(
    rules=RULES,
    channel=CHANNEL,
    exporters=frozenset({"node", "redis", "postgres"}),
    alertmanagers=True,
)


def made(inventory: Path, scraping: Scraping, node: str = "okome-node-09") -> dict[str, Any]:
    cluster = load_cluster(inventory)
    config: dict[str, Any] = yaml.safe_load(render(cluster, cluster.node(node), scraping))
    return config


def job(config: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(j for j in config["scrape_configs"] if j["job_name"] == name)
    return found


def addresses(job: dict[str, Any]) -> list[str]:
    return [target for group in job["static_configs"] for target in group["targets"]]


@pytest.mark.parametrize(
    ("inventory", "scraping"),
    [
        (LOCAL, Scraping(rules=RULES, interval_s=5)),
        (LOCAL.with_name("local-replicated.yml"), Scraping(rules=RULES, interval_s=1)),
        (CLUSTER, FULL),
    ],
)
def test_promtool_takes_it(tmp_path: Path, inventory: Path, scraping: Scraping) -> None:
    if (promtool := find_program("promtool", {})) is None:
        pytest.skip("promtool (of the package prometheus) is not installed")
    if scraping.channel is not None:
        # It looks whether the files are there.
        files = ChannelFiles(*(tmp_path / name for name in ("ca", "cert", "key")))
        for path in (files.ca, files.cert, files.key):
            Path(path).touch()
        scraping = replace(scraping, channel=files)
    cluster = load_cluster(inventory)
    config = tmp_path / "prometheus.yml"
    config.write_text(render(cluster, cluster.node("okome-node-09"), scraping), encoding="utf-8")

    done = subprocess.run(
        [promtool, "check", "config", "--lint=all", "--lint-fatal", str(config)],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr


def test_one_machine_has_no_exporters_and_asks_often() -> None:
    config = made(LOCAL, Scraping(rules=RULES, interval_s=5))

    assert [j["job_name"] for j in config["scrape_configs"]] == [
        "okome-broker", "okome-control", "haproxy", "engine", "prometheus",
    ]  # fmt: skip
    assert config["global"]["scrape_interval"] == "5s"
    assert config["global"]["scrape_timeout"] == "4s"
    assert "alerting" not in config
    assert addresses(job(config, "okome-broker")) == [f"127.86.0.{n}:8100" for n in range(43, 47)]


def test_every_worker_is_a_target_of_its_own(tmp_path: Path) -> None:
    inventory = tmp_path / "inventory.yml"
    text = LOCAL.read_text(encoding="utf-8").replace("[n03w0]", "[n03w0, n03w1]")
    inventory.write_text(text, encoding="utf-8")

    brokers = job(made(inventory, FULL), "okome-broker")["static_configs"]

    assert brokers[1] == {
        "targets": ["127.86.0.43:8101"],
        "labels": {"node": "okome-node-03", "worker": "1"},
    }


def test_the_pair_differs_by_its_replica_and_alerts_do_not() -> None:
    one, other = (made(CLUSTER, FULL, name) for name in ("okome-node-09", "okome-node-10"))

    assert one["global"].pop("external_labels") == {
        "cluster": "okome", "replica": "09", "runbook": "http://192.168.86.49:3001/runbook",
    }  # fmt: skip
    assert other["global"].pop("external_labels") == {
        "cluster": "okome", "replica": "10", "runbook": "http://192.168.86.50:3001/runbook",
    }  # fmt: skip
    assert one == other
    dropped = one["alerting"]["alert_relabel_configs"]
    assert {"regex": "replica", "action": "labeldrop"} in dropped
    assert {"regex": "runbook", "action": "labeldrop"} in dropped
    (alertmanagers,) = one["alerting"]["alertmanagers"]
    assert addresses(alertmanagers) == ["192.168.86.49:9093", "192.168.86.50:9093"]


def test_the_control_plane_of_the_cluster_is_shown_a_certificate() -> None:
    control = job(made(CLUSTER, FULL), "okome-control")

    assert control["scheme"] == "https"
    assert control["tls_config"] == {
        "ca_file": "/etc/ca",
        "cert_file": "/etc/cert",
        "key_file": "/etc/key",
    }


def test_every_redis_is_asked_through_the_exporter_at_hand() -> None:
    redis = job(made(CLUSTER, FULL), "redis")
    targets = addresses(redis)

    assert len(targets) == 4 * 3 + 1
    assert "redis://192.168.86.43:6379" in targets
    assert redis["relabel_configs"][-1]["replacement"] == "127.0.0.1:9121"
    assert redis["metrics_path"] == "/scrape"


def test_engines_without_metrics_are_not_asked() -> None:
    assert addresses(job(made(CLUSTER, FULL), "engine")) == ["192.168.86.30:8000"]


def test_an_engine_is_asked_once_where_its_url_says() -> None:
    cluster = load_cluster(LOCAL)
    specs = [
        EngineSpec(kind="vllm", base_url="https://gpu.lan/llm/", model=model, context=1, name="x")
        for model in ("a", "b")
    ]
    nodes = tuple(
        replace(node, engines=tuple(specs), gpu_exporter_port=9400)
        if node.role == "core_gpu"
        else node
        for node in cluster.nodes
    )
    cluster = replace(cluster, nodes=nodes)

    config = yaml.safe_load(render(cluster, cluster.node("okome-node-09"), FULL))

    assert job(config, "engine")["static_configs"] == [
        {
            "targets": ["gpu.lan:443"],
            "labels": {
                "node": "okome-core-gpu",
                "engine": "x",
                "__scheme__": "https",
                "__metrics_path__": "/llm/metrics",
            },
        }
    ]
    assert addresses(job(config, "gpu")) == ["127.86.0.30:9400"]


def test_no_answer_is_unbounded() -> None:
    for scrape in made(CLUSTER, FULL)["scrape_configs"]:
        bounds = [name for name in scrape if name.endswith("_limit")]
        assert len(bounds) == 5, scrape["job_name"]


def test_the_disk_is_bounded_by_time_and_size() -> None:
    flags = arguments(PurePath("c.yml"), PurePath("data"), "127.0.0.1:9090", Retention(15, 4000))

    assert "--storage.tsdb.retention.time=15d" in flags
    assert "--storage.tsdb.retention.size=4000MB" in flags
