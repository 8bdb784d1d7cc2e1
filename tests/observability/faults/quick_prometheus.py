"""Has the Prometheus of a running cluster load quicker rules, and ask every second."""

from __future__ import annotations

import os
import signal
from typing import Final

import yaml

from tests.observability.faults.quicker import quicker
from tests.support.cluster import Cluster

NODE: Final = "okome-node-09"
_SPANS: Final = ("scrape_interval", "scrape_timeout", "evaluation_interval")


def hurry(cluster: Cluster, times: float) -> None:
    """Returns when it has been told to."""
    directory = cluster.paths.of_process(NODE)
    rules = directory / "rules"
    rules.mkdir()
    for name, text in quicker(times).items():
        (rules / name).write_text(text, encoding="utf-8")
    file = directory / "prometheus.yml"
    config = yaml.safe_load(file.read_text(encoding="utf-8"))
    config["global"] |= dict.fromkeys(_SPANS, "1s")
    config["rule_files"] = [str(rules / "*.yml")]
    file.write_text(yaml.safe_dump(config), encoding="utf-8")
    nodes = cluster.status()["nodes"]
    os.kill(next(node["pid"] for node in nodes if node["process"] == NODE), signal.SIGHUP)
