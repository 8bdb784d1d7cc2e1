"""`prometheus.yml` as pure text: who is asked for figures, made from the inventory.

Every target has the labels `node` and, where there are several processes on one, `worker`,
`home` or `engine`. What a target may send is bounded, so that no mistake in a label fills
the memory of a small node: an answer beyond a bound is dropped whole and `up` says 0.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, Literal
from urllib.parse import urlsplit

import yaml

from inventory.model import Cluster, EngineSpec, Node
from observability.slo import RUNBOOK_LABEL

Exporter = Literal["node", "redis", "postgres"]
# Where the distribution's exporters listen.
EXPORTER_PORTS: dict[Exporter, int] = {"node": 9100, "redis": 9121, "postgres": 9187}
ALERTMANAGER_PORT = 9093

# Of these kinds every server answers `/metrics`. Ollama has none; TensorFlow Serving only
# where it was told to, at another path.
ENGINES_WITH_METRICS = ("vllm",)
HAPROXY_SCOPES = ["global", "frontend", "backend", "server"]

# A broker was seen to send 130 samples, HAProxy before four of them 1,321.
_OURS, _FOREIGN = 5_000, 20_000
_BOUNDS: dict[str, Any] = {
    "body_size_limit": "8MB",
    "label_limit": 32,
    "label_name_length_limit": 128,
    "label_value_length_limit": 512,
}


@dataclass(frozen=True, slots=True)
class ChannelFiles:
    """What is shown to, and believed of, a control plane behind mutual TLS: paths (PEM).
    The certificate's role is `okome:observer`."""

    ca: PurePath
    cert: PurePath
    key: PurePath


@dataclass(frozen=True, slots=True)
class Scraping:
    """What the inventory does not say of a Prometheus. `interval_s`: seconds between two
    questions to a target; `rules`: files of rules, with `*` in the last part of the path;
    `exporters`: those that run at their nodes (`redis`: at the Prometheus', for all Redis);
    `hosts`: names of the nodes with a node exporter, None: all but the GPU hosts and the cache,
    which need not be ours."""

    rules: PurePath
    interval_s: int = 15
    channel: ChannelFiles | None = None
    exporters: frozenset[Exporter] = frozenset()
    alertmanagers: bool = False
    hosts: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class Retention:
    """Whichever is reached first. The last two hours are kept in any case."""

    days: int
    megabytes: int


def render(cluster: Cluster, node: Node, scraping: Scraping) -> str:
    """The configuration of the Prometheus on `node`."""
    interval = f"{scraping.interval_s}s"
    config: dict[str, Any] = {
        "global": {
            "scrape_interval": interval,
            "scrape_timeout": f"{max(1, min(10, scraping.interval_s - 1))}s",
            "evaluation_interval": interval,
            "external_labels": {
                "cluster": cluster.name,
                "replica": f"{node.number:02d}",
                # The rules' links begin with it: the same files are right in every cluster.
                RUNBOOK_LABEL: cluster.runbook_at(node),
            },
        },
        "rule_files": [str(scraping.rules)],
    }
    if scraping.alertmanagers:
        config["alerting"] = _alerting(cluster)
    config["scrape_configs"] = _jobs(cluster, node, scraping)
    # Without aliases: two jobs may share a value, and a person reads this.
    text = yaml.dump(config, Dumper=_Plain, sort_keys=False, width=100)
    return f"# Made by OKOME from the inventory; a change here is lost.\n{text}"


def arguments(
    config: PurePath, data: PurePath, listen: str, retention: Retention
) -> tuple[str, ...]:
    """The command line of a Prometheus 2.42 or later, without its name."""
    return (
        f"--config.file={config}",
        f"--storage.tsdb.path={data}",
        f"--storage.tsdb.retention.time={retention.days}d",
        f"--storage.tsdb.retention.size={retention.megabytes}MB",
        "--storage.tsdb.wal-compression",
        f"--web.listen-address={listen}",
        # The default lets a page of any origin read the answers.
        "--web.cors.origin=null",
        "--web.max-connections=64",
        "--query.timeout=20s",
        "--query.max-concurrency=8",
        "--query.max-samples=5000000",
        "--enable-feature=exemplar-storage",
        "--log.level=warn",
    )


class _Plain(yaml.SafeDumper):
    def ignore_aliases(self, _: object) -> bool:
        return True


def _alerting(cluster: Cluster) -> dict[str, Any]:
    """Both Alertmanagers get every alert of both Prometheus', and drop what is the same: the
    labels by which the two differ go before."""
    targets = [f"{n.address}:{ALERTMANAGER_PORT}" for n in cluster.role("observability")]
    return {
        "alert_relabel_configs": [
            {"regex": name, "action": "labeldrop"} for name in ("replica", RUNBOOK_LABEL)
        ],
        "alertmanagers": [{"timeout": "5s", "static_configs": [{"targets": targets}]}],
    }


def _jobs(cluster: Cluster, node: Node, scraping: Scraping) -> list[dict[str, Any]]:
    has = scraping.exporters
    jobs = [
        _job("okome-broker", _brokers(cluster), _OURS),
        _control(cluster, scraping.channel),
        _job("haproxy", _ingress(cluster), _FOREIGN) | {"params": {"scope": HAPROXY_SCOPES}},
        _job("engine", _engines(cluster), _FOREIGN),
        _job("gpu", _gpus(cluster), _FOREIGN),
        _job("prometheus", _each(cluster.role("observability"), node.port), _FOREIGN),
    ]
    if scraping.alertmanagers:
        alertmanagers = _each(cluster.role("observability"), ALERTMANAGER_PORT)
        jobs.append(_job("alertmanager", alertmanagers, _FOREIGN))
    if "node" in has:
        hosts = _hosts(cluster, scraping.hosts)
        jobs.append(_job("node", _each(hosts, EXPORTER_PORTS["node"]), _FOREIGN))
    if "redis" in has:
        jobs.append(_redis(cluster))
    if "postgres" in has:
        control = _each(cluster.role("control"), EXPORTER_PORTS["postgres"])
        jobs.append(_job("postgres", control, _FOREIGN))
    return [job for job in jobs if job["static_configs"]]


def _job(name: str, targets: Iterable[dict[str, Any]], samples: int) -> dict[str, Any]:
    return {
        "job_name": name,
        "sample_limit": samples,
        **_BOUNDS,
        "static_configs": list(targets),
    }


def _target(address: str, labels: dict[str, str]) -> dict[str, Any]:
    return {"targets": [address], "labels": labels}


def _each(nodes: Iterable[Node], port: int) -> list[dict[str, Any]]:
    return [_target(f"{node.address}:{port}", {"node": node.name}) for node in nodes]


def _brokers(cluster: Cluster) -> list[dict[str, Any]]:
    return [
        _target(f"{node.address}:{node.port + i}", {"node": node.name, "worker": str(i)})
        for node in cluster.brokers()
        for i in range(node.workers)
    ]


def _control(cluster: Cluster, channel: ChannelFiles | None) -> dict[str, Any]:
    nodes = cluster.role("control")
    job = _job("okome-control", _each(nodes, nodes[0].port), _OURS)
    if channel is None:
        return job
    files = {"ca_file": channel.ca, "cert_file": channel.cert, "key_file": channel.key}
    tls = {name: str(path) for name, path in files.items()}
    return job | {"scheme": "https", "tls_config": tls}


def _ingress(cluster: Cluster) -> list[dict[str, Any]]:
    return _each(cluster.role("ingress"), cluster.stats_port)


def _engines(cluster: Cluster) -> list[dict[str, Any]]:
    """One target a server, though several models may be of the same."""
    servers: dict[str, tuple[Node, EngineSpec]] = {}
    for node in cluster.role("core_gpu"):
        for engine in node.engines:
            if engine.kind in ENGINES_WITH_METRICS:
                servers.setdefault(engine.base_url, (node, engine))
    return [_engine(node, engine) for node, engine in servers.values()]


def _engine(node: Node, engine: EngineSpec) -> dict[str, Any]:
    parts = urlsplit(engine.base_url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    labels = {"node": node.name, "engine": engine.name}
    if parts.scheme == "https":
        labels["__scheme__"] = "https"
    if parts.path.rstrip("/"):
        labels["__metrics_path__"] = f"{parts.path.rstrip('/')}/metrics"
    return _target(f"{host}:{port}", labels)


def _gpus(cluster: Cluster) -> list[dict[str, Any]]:
    return [
        _target(f"{node.address}:{node.gpu_exporter_port}", {"node": node.name})
        for node in cluster.role("core_gpu")
        if node.gpu_exporter_port is not None
    ]


def _hosts(cluster: Cluster, names: frozenset[str] | None) -> list[Node]:
    """The nodes that a node exporter runs on."""
    if names is not None:
        return [node for node in cluster.nodes if node.name in names]
    return [node for node in cluster.nodes if node.role not in ("core_gpu", "cache", "redis")]


def _redis(cluster: Cluster) -> dict[str, Any]:
    """One exporter beside the Prometheus asks every Redis: it takes the target's name."""
    logs = [
        _target(f"redis://{store.name}", {"node": store.node, "home": store.home, "use": "log"})
        for store in cluster.log_stores()
    ]
    caches = [
        _target(f"redis://{node.address}:{node.port}", {"node": node.name, "use": "cache"})
        for node in cluster.role("cache")
    ]
    exporter = f"127.0.0.1:{EXPORTER_PORTS['redis']}"
    relabel = [
        {"source_labels": ["__address__"], "target_label": "__param_target"},
        {"source_labels": ["__address__"], "regex": "redis://(.*)", "target_label": "instance"},
        {"target_label": "__address__", "replacement": exporter},
    ]
    job = _job("redis", logs + caches, _FOREIGN)
    return job | {"metrics_path": "/scrape", "relabel_configs": relabel}
