"""Prometheus in the one-machine cluster: whether it can be run, and its configuration."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import observability
from inventory.model import Cluster
from inventory.tls import TlsFiles
from observability.scraping import ChannelFiles, Scraping, render
from okome.paths import Paths
from okome.plan import INTERVAL_S, Programs, observers
from okome.ports import taken

RULES = Path(observability.__file__).parent / "rules" / "*.yml"


def spared(cluster: Cluster, programs: Programs) -> tuple[Programs, list[str]]:
    """`programs` without Prometheus where its place is taken, and what to say of that.

    The distribution starts one of its own, on every address: nobody is to lose the cluster
    by installing what only looks on.
    """
    for node in observers(cluster, programs):
        for port, own in ((node.port, "prometheus"), (cluster.dash_port, "grafana-server")):
            if busy := taken([f"{node.address}:{port}"]):
                advice = f"if it is the distribution's, `systemctl disable --now {own}` ends it"
                note = f"no figures over time: {busy[0]} ({advice})"
                return replace(programs, prometheus=None), [note]
    return programs, []


def write_prometheus(
    cluster: Cluster, paths: Paths, programs: Programs, tls: TlsFiles | None
) -> None:
    """The configuration of every Prometheus of the plan."""
    channel = ChannelFiles(ca=tls.ca, cert=tls.cert, key=tls.key) if tls else None
    scraping = Scraping(rules=RULES, interval_s=INTERVAL_S, channel=channel)
    for node in observers(cluster, programs):
        config = paths.of_process(node.name) / "prometheus.yml"
        config.write_text(render(cluster, node, scraping), encoding="utf-8")
