"""What an inventory says, typed: nodes, addresses, roles."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from contracts.grants import EngineKind
from inventory.slots import equal_ranges, slot_of

Role = Literal[
    "ingress",
    "stream",
    "speculative",
    "observability",
    "control",
    "core_gpu",
    "cache",
    "redis",
]
Durability = Literal["none", "local", "replicated"]

# Of each log primary. One is too few: the death of a node would leave the primary before it
# without any, and nothing there could be acknowledged.
REPLICAS = 2
# Of which a majority must be left to promote a replica.
PRIMARIES_MIN = 3


@dataclass(frozen=True, slots=True)
class EngineSpec:
    """A model of an engine on a core GPU node. `context` is in tokens per request; `name` is
    the engine's, by default KIND on the first such node and KIND@NODE on others; entries
    with the same one are models of the same server."""

    kind: EngineKind
    base_url: str
    model: str
    context: int
    name: str = ""


@dataclass(frozen=True, slots=True)
class Node:
    """One machine (or, on one machine, one loopback address).

    `port` is the first port of its role; worker `i` of a node with brokers listens on
    `port + i`. `log_tags` holds one Redis hash tag per worker. `gpu_exporter_port`: where a
    core GPU node tells of its GPU, if it does.
    """

    name: str
    number: int
    address: str
    role: Role
    port: int
    log_tags: tuple[str, ...] = ()
    engines: tuple[EngineSpec, ...] = ()
    vrrp_priority: int | None = None
    gpu_exporter_port: int | None = None

    @property
    def workers(self) -> int:
        """Broker processes on this node."""
        return len(self.log_tags)


@dataclass(frozen=True, slots=True)
class LogStore:
    """One Redis process that keeps logs, on the node called `node`.

    `home` names the node whose jobs it keeps: `node` itself at its primary, the home's
    primary being another process at a replica. At durability `local` there is only one.
    """

    node: str
    address: str
    port: int
    home: str

    @property
    def primary(self) -> bool:
        """Is it the process that is to own the slots of its home?"""
        return self.home == self.node

    @property
    def name(self) -> str:
        """`address:port`."""
        return f"{self.address}:{self.port}"


@dataclass(frozen=True, slots=True)
class Cluster:
    """The whole cluster. `also` are further `address:port` pairs the ingress listens on.

    With `ingress_tls` it speaks TLS at its port, and at `redirect_port` says so. `vrrp_id` is
    the router id by which the ingress nodes agree who holds the VIP, None where one address
    is simply there; `vip_prefix` is the length of its network's prefix. The observability
    nodes show their page at `dash_port`, with the runbook; alerts lead to another one where
    `runbook_url` names it.
    """

    name: str
    vip: str
    ingress_port: int
    also: tuple[str, ...]
    stats_port: int
    durability: Durability
    nodes: tuple[Node, ...]
    redis_port: int = 6379
    ingress_tls: bool = False
    redirect_port: int | None = None
    vrrp_id: int | None = None
    vip_prefix: int = 24
    dash_port: int = 3000
    runbook_url: str = ""

    def runbook_at(self, node: Node) -> str:
        """Where what the observability node `node` tells is explained: the URL of a page with
        a section for each alert."""
        return self.runbook_url or f"http://{node.address}:{self.dash_port}/runbook"

    def role(self, role: Role) -> tuple[Node, ...]:
        """The nodes of a role, in order of number."""
        return tuple(node for node in self.nodes if node.role == role)

    def brokers(self) -> tuple[Node, ...]:
        """The nodes that run brokers, in order of number: those of the role `stream`, and of
        `speculative` those that serve as brokers, without a log of their own."""
        return tuple(n for n in self.nodes if n.role in ("stream", "speculative") and n.workers)

    def node(self, name: str) -> Node:
        """The node called `name`. Raises KeyError when there is none."""
        for node in self.nodes:
            if node.name == name:
                return node
        raise KeyError(name)

    @property
    def control_url(self) -> str:
        """Base URL of the control plane."""
        (control,) = self.role("control")
        return f"http://{control.address}:{control.port}"

    @property
    def url(self) -> str:
        """Base URL of the ingress at the VIP."""
        scheme, usual = ("https", 443) if self.ingress_tls else ("http", 80)
        port = "" if self.ingress_port == usual else f":{self.ingress_port}"
        return f"{scheme}://{self.vip}{port}"

    def log_tag(self, number: int, worker: int) -> str | None:
        """Hash tag of worker `worker` on node `number`, or None when there is no such broker."""
        for node in self.brokers():
            if node.number == number and worker < node.workers:
                return node.log_tags[worker]
        return None

    def log_tags(self) -> tuple[str, ...]:
        """All hash tags, in order of node and worker."""
        return tuple(tag for node in self.brokers() for tag in node.log_tags)

    def log_stores(self) -> tuple[LogStore, ...]:
        """Every Redis process of the log; none where durability is `none`.

        `replicated`: on each stream node a primary at `redis_port`, and behind it replicas
        of the node before and of the one before that (CONTRACT, "The fixed cluster").
        """
        if self.durability == "none":
            return ()
        if self.durability == "local":
            return tuple(
                LogStore(node.name, node.address, node.port, node.name)
                for node in self.role("redis")
            )
        nodes = self.role("stream")
        return tuple(
            LogStore(node.name, node.address, self.redis_port + before, nodes[place - before].name)
            for place, node in enumerate(nodes)
            for before in range(REPLICAS + 1)
        )

    def log_slots(self, home: str) -> range:
        """The slots that the primary of node `home` is to own."""
        names = [node.name for node in self.role("stream")]
        return equal_ranges(len(names))[names.index(home)]

    def foreign_tags(self) -> list[tuple[str, str]]:
        """(node, tag) where a tag falls into slots that another node's primary owns."""
        return [
            (node.name, tag)
            for node in self.role("stream")
            for tag in node.log_tags
            if slot_of(tag) not in self.log_slots(node.name)
        ]
