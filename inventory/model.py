"""What an inventory says, typed: nodes, addresses, roles."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from contracts.grants import EngineKind

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


@dataclass(frozen=True, slots=True)
class EngineSpec:
    """An engine on a core GPU node. `context` is in tokens per request."""

    kind: EngineKind
    base_url: str
    model: str
    context: int


@dataclass(frozen=True, slots=True)
class Node:
    """One machine (or, on one machine, one loopback address).

    `port` is the first port of its role; worker `i` of a stream node listens on
    `port + i`. `log_tags` holds one Redis hash tag per worker.
    """

    name: str
    number: int
    address: str
    role: Role
    port: int
    log_tags: tuple[str, ...] = ()
    engines: tuple[EngineSpec, ...] = ()

    @property
    def workers(self) -> int:
        """Broker processes on this node."""
        return len(self.log_tags)


@dataclass(frozen=True, slots=True)
class Cluster:
    """The whole cluster. `also` are further `address:port` pairs the ingress listens on."""

    name: str
    vip: str
    ingress_port: int
    also: tuple[str, ...]
    stats_port: int
    durability: Durability
    nodes: tuple[Node, ...]

    def role(self, role: Role) -> tuple[Node, ...]:
        """The nodes of a role, in order of number."""
        return tuple(node for node in self.nodes if node.role == role)

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
        return f"http://{self.vip}:{self.ingress_port}"

    def log_tag(self, number: int, worker: int) -> str | None:
        """Hash tag of worker `worker` on stream node `number`, or None when there is no such."""
        for node in self.role("stream"):
            if node.number == number and worker < node.workers:
                return node.log_tags[worker]
        return None

    def log_tags(self) -> tuple[str, ...]:
        """All hash tags, in order of node and worker."""
        return tuple(tag for node in self.role("stream") for tag in node.log_tags)
