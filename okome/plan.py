"""Which processes make up the one-machine cluster: pure data made from the inventory."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlsplit

from inventory.model import Cluster, LogStore, Node, Role
from observability.scraping import Retention, arguments
from okome.paths import Paths

# A member of a Redis Cluster talks to the others at its port and this.
BUS = 10_000

# TensorFlow Serving refuses `/v1/models` without a name.
ENGINE_HEALTH = {
    "vllm": "/health",
    "ollama": "/api/version",
    "tf_serving": "/v1/models/{model}",
}

# How often Prometheus asks on one machine, in seconds: often enough to see a stall while it
# lasts. What that costs, and how much it keeps, is in docs/observability.md.
INTERVAL_S = 5
RETENTION = Retention(days=2, megabytes=256)

# Ended in this order: brokers first, through an ingress that still carries their clean ends;
# the control plane after them, to take their settlements; the log last, then who only looked on.
STOP_ORDER: tuple[Role, ...] = (
    *("stream", "speculative", "ingress", "control", "core_gpu", "redis", "cache"),
)


@dataclass(frozen=True, slots=True)
class ProcessSpec:
    """One process of the cluster.

    `argv` is None for an engine that somebody else runs: watched, never started or stopped.
    `after` names processes that must be ready before this one is started.
    """

    name: str
    node: str
    role: Role
    address: str
    port: int
    ready_url: str
    argv: tuple[str, ...] | None
    after: tuple[str, ...] = ()
    listens: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Programs:
    """What the plan starts that is not Python. None: missing on this machine."""

    haproxy: str | None
    redis: str | None
    model: Path | None
    prometheus: str | None = None


@dataclass(frozen=True, slots=True)
class Arguments:
    """Settings as they are handed on to every plane's command line, and the control plane's
    policy file."""

    settings: Path | None = None
    assignments: tuple[str, ...] = ()
    policy: Path | None = None

    def argv(self) -> list[str]:
        """The command-line form."""
        file = ["--settings", str(self.settings)] if self.settings else []
        return file + [part for value in self.assignments for part in ("--set", value)]


def make_plan(
    cluster: Cluster, paths: Paths, programs: Programs, arguments: Arguments, *, tls: bool = False
) -> list[ProcessSpec]:
    """Every process of `cluster`, in the order in which they are shown.

    `tls`: the control plane listens behind mutual TLS.
    """
    plan = [_ingress(node, cluster, paths, programs) for node in _ingress_nodes(cluster, programs)]
    redis = [_redis(cluster, store, paths, programs) for store in cluster.log_stores()]
    after = tuple(spec.name for spec in redis)
    plan += [
        _broker(node, worker, paths, arguments, after)
        for node in cluster.brokers()
        for worker in range(node.workers)
    ]
    plan += redis
    plan += [_cache(node, paths, programs) for node in cluster.role("cache")]
    scheme = "https" if tls else "http"
    plan += [_control(node, paths, arguments, scheme) for node in cluster.role("control")]
    plan += [_engine(node, paths, programs) for node in cluster.role("core_gpu")]
    for node in observers(cluster, programs):
        plan += [_prometheus(node, paths, programs), _dash(node, cluster, paths)]
    return plan


def observers(cluster: Cluster, programs: Programs) -> tuple[Node, ...]:
    """The nodes that look on."""
    return cluster.role("observability") if programs.prometheus else ()


def base_url(cluster: Cluster, programs: Programs) -> str:
    """Where clients talk to: the VIP, or the first broker when there is no ingress."""
    if programs.haproxy is not None and cluster.role("ingress"):
        return cluster.url
    first = cluster.role("stream")[0]
    return f"http://{first.address}:{first.port}"


def browser_url(cluster: Cluster, programs: Programs) -> str:
    """As `base_url`, by the name `localhost` where the ingress listens there."""
    for listen in cluster.also if programs.haproxy is not None else ():
        host, _, port = listen.rpartition(":")
        if host == "127.0.0.1":
            return f"http://localhost:{port}"
    return base_url(cluster, programs)


def ingress_listens(cluster: Cluster, node: Node) -> tuple[str, ...]:
    """Every address:port of an ingress node, its statistics last."""
    return (
        f"{cluster.vip}:{cluster.ingress_port}",
        *cluster.also,
        f"{node.address}:{node.port}",
        f"{node.address}:{cluster.stats_port}",
    )


def _ingress_nodes(cluster: Cluster, programs: Programs) -> tuple[Node, ...]:
    # One machine has one VIP and nobody to take it over: one ingress is enough.
    return cluster.role("ingress")[:1] if programs.haproxy else ()


def _python(module: str) -> tuple[str, ...]:
    # -P: the working directory is the user's, and may hold a package called `inventory`.
    return (sys.executable, "-P", "-m", module)


def _ingress(node: Node, cluster: Cluster, paths: Paths, programs: Programs) -> ProcessSpec:
    config = paths.of_process(node.name) / "haproxy.cfg"
    return ProcessSpec(
        name=node.name,
        node=node.name,
        role="ingress",
        address=node.address,
        port=node.port,
        ready_url=f"http://{node.address}:{cluster.stats_port}/serving",
        argv=(str(programs.haproxy), "-db", "-f", str(config)),
        listens=ingress_listens(cluster, node),
    )


def _broker(
    node: Node, worker: int, paths: Paths, arguments: Arguments, after: tuple[str, ...]
) -> ProcessSpec:
    name = node.name if node.workers == 1 else f"{node.name}.w{worker}"
    port = node.port + worker
    return ProcessSpec(
        name=name,
        node=node.name,
        role=node.role,
        address=node.address,
        port=port,
        ready_url=f"http://{node.address}:{port}/readyz",
        argv=(
            *_python("stream_broker"),
            *("--inventory", str(paths.inventory), "--node", node.name, "--worker", str(worker)),
            *("--state", str(paths.of_process(name)), "--credentials", str(paths.credentials)),
            *arguments.argv(),
        ),
        after=after,
        listens=(f"{node.address}:{port}",),
    )


def redis_name(cluster: Cluster, store: LogStore) -> str:
    """What a Redis process is called: its node, and its port where there are several."""
    return f"{store.node}.redis-{store.port}" if cluster.durability == "replicated" else store.node


def _redis(cluster: Cluster, store: LogStore, paths: Paths, programs: Programs) -> ProcessSpec:
    name = redis_name(cluster, store)
    clustered = cluster.durability == "replicated"
    bus = (f"{store.address}:{store.port + BUS}",) if clustered else ()
    return ProcessSpec(
        name=name,
        node=store.node,
        role="redis",
        address=store.address,
        port=store.port,
        ready_url=f"{'redis+cluster' if clustered else 'redis'}://{store.name}",
        argv=(str(programs.redis), str(paths.of_process(name) / "redis.conf")),
        listens=(store.name, *bus),
    )


def _cache(node: Node, paths: Paths, programs: Programs) -> ProcessSpec:
    return ProcessSpec(
        name=node.name,
        node=node.name,
        role="cache",
        address=node.address,
        port=node.port,
        ready_url=f"redis://{node.address}:{node.port}",
        argv=(str(programs.redis), str(paths.of_process(node.name) / "redis.conf")),
        listens=(f"{node.address}:{node.port}",),
    )


def _control(node: Node, paths: Paths, arguments: Arguments, scheme: str) -> ProcessSpec:
    return ProcessSpec(
        name=node.name,
        node=node.name,
        role="control",
        address=node.address,
        port=node.port,
        ready_url=f"{scheme}://{node.address}:{node.port}/readyz",
        argv=(
            *_python("control_plane"),
            *("--inventory", str(paths.inventory), "--state", str(paths.of_process(node.name))),
            *("--credentials", str(paths.credentials)),
            *(("--policy", str(arguments.policy)) if arguments.policy else ()),
            *arguments.argv(),
        ),
        listens=(f"{node.address}:{node.port}",),
    )


def _engine(node: Node, paths: Paths, programs: Programs) -> ProcessSpec:
    engine = node.engines[0]
    embedded = programs.model is not None
    # An engine of one's own is where its URL says, not at the node that stands for it.
    address = node.address if embedded else urlsplit(engine.base_url).hostname or node.address
    return ProcessSpec(
        name=node.name,
        node=node.name,
        role="core_gpu",
        address=address,
        port=node.port,
        ready_url=engine.base_url
        + ENGINE_HEALTH[engine.kind].format(model=quote(engine.model, safe="")),
        argv=(
            *_python("okome.embedded_engine"),
            *("--inventory", str(paths.inventory), "--node", node.name),
            *("--model", str(programs.model)),
        )
        if embedded
        else None,
        listens=(f"{node.address}:{node.port}",) if embedded else (),
    )


def _prometheus(node: Node, paths: Paths, programs: Programs) -> ProcessSpec:
    directory, listen = paths.of_process(node.name), f"{node.address}:{node.port}"
    flags = arguments(directory / "prometheus.yml", directory / "data", listen, RETENTION)
    return ProcessSpec(
        name=node.name,
        node=node.name,
        role="observability",
        address=node.address,
        port=node.port,
        ready_url=f"http://{listen}/-/ready",
        argv=(str(programs.prometheus), *flags),
        listens=(listen,),
    )


def dash_name(node: Node) -> str:
    """What the process is called that serves a node's page."""
    return f"{node.name}.dash"


def _dash(node: Node, cluster: Cluster, paths: Paths) -> ProcessSpec:
    listen = f"{node.address}:{cluster.dash_port}"
    return ProcessSpec(
        name=dash_name(node),
        node=node.name,
        role="observability",
        address=node.address,
        port=cluster.dash_port,
        ready_url=f"http://{listen}/healthz",
        argv=(
            *_python("observability.dash"),
            *("--inventory", str(paths.inventory), "--node", node.name),
            *("--interval", str(INTERVAL_S)),
        ),
        listens=(listen,),
    )
