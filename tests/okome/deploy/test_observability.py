"""What the playbook is given for an observability node."""

from __future__ import annotations

import yaml
from typer.testing import CliRunner

from inventory.load import LOCAL
from okome.cli import app
from okome.errors import OkomeError

CLUSTER = str(LOCAL.with_name("cluster.yml"))
HERE = ("--inventory", CLUSTER, "--node", "okome-node-10")


def printed(*arguments: str) -> dict[str, list[dict[str, str]]]:
    done = CliRunner().invoke(app, ["observability", *arguments])
    assert done.exit_code == 0, done.output
    document: dict[str, list[dict[str, str]]] = yaml.safe_load(done.stdout)
    return document


def test_prometheus_is_configured_from_the_inventory() -> None:
    config = printed(
        "prometheus", *HERE, "--rules", "/etc/okome/rules/*.yml", "--channel", "/etc/okome/tls",
        "--exporter", "node", "--exporter", "redis",
    )  # fmt: skip
    names = [job["job_name"] for job in config["scrape_configs"]]
    assert names == [
        "okome-broker", "okome-control", "haproxy", "engine", "prometheus", "alertmanager",
        "node", "redis",
    ]  # fmt: skip
    assert config["rule_files"] == ["/etc/okome/rules/*.yml"]


def test_hosts_are_asked_where_their_exporter_was_put() -> None:
    def asked(*arguments: str) -> list[str]:
        config = printed("prometheus", *HERE, "--rules", "*.yml", "--exporter", "node", *arguments)
        (job,) = [job for job in config["scrape_configs"] if job["job_name"] == "node"]
        return [each["labels"]["node"] for each in job["static_configs"]]  # type: ignore[index]

    assert len(asked()) == 11
    assert not {"okome-core-gpu", "okome-cache"} & set(asked())
    assert asked("--host", "okome-cache", "--host", "okome-node-03") == [
        "okome-node-03",
        "okome-cache",
    ]


def test_grafana_asks_the_prometheus_beside_it() -> None:
    sources = printed("datasources", *HERE, "--loki", "http://192.168.86.50:3100")
    assert [source["url"] for source in sources["datasources"]] == [
        "http://192.168.86.50:9090",
        "http://192.168.86.50:3100",
    ]
    assert printed("providers", "--directory", "/d")["providers"][0]["name"] == "okome"


def test_another_node_or_exporter_is_refused() -> None:
    for arguments, words in (
        (["--inventory", CLUSTER, "--node", "okome-node-03", "--rules", "x"], "is no node of"),
        ([*HERE, "--rules", "x", "--exporter", "nonsense"], "expected node, redis, postgres"),
    ):
        done = CliRunner().invoke(app, ["observability", "prometheus", *arguments])
        assert isinstance(done.exception, OkomeError)
        assert words in str(done.exception)
