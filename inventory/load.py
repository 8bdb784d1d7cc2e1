"""Reads an Ansible inventory into a typed `Cluster`, with one clear error per fault."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Annotated, Any, get_args

import msgspec
import yaml

from contracts.grants import EngineKind
from inventory.model import PRIMARIES_MIN, Cluster, Durability, EngineSpec, Node, Role
from inventory.slots import slot_of

LOCAL = Path(__file__).with_name("local.yml")
Port = Annotated[int, msgspec.Meta(ge=1, le=65535)]


class InventoryError(Exception):
    """The inventory cannot be used; the message names file and place."""


class _Engine(msgspec.Struct, forbid_unknown_fields=True):
    kind: EngineKind
    port: Port
    model: str
    context: Annotated[int, msgspec.Meta(ge=1)]
    url: str | None = None
    name: str | None = None


class _Host(msgspec.Struct):
    ansible_host: str
    okome_number: Annotated[int, msgspec.Meta(ge=1, le=99)]
    okome_log_tags: list[str] = []
    okome_engines: list[_Engine] = []
    okome_vrrp_priority: Annotated[int, msgspec.Meta(ge=1, le=254)] | None = None
    okome_gpu_exporter_port: Port | None = None


class _Group(msgspec.Struct):
    hosts: dict[str, _Host] = {}


class _Vars(msgspec.Struct):
    okome_cluster: str
    okome_vip: str
    okome_ingress_port: Port
    okome_stats_port: Port
    okome_broker_port: Port
    okome_control_port: Port
    okome_redis_port: Port
    okome_durability: Durability
    okome_ingress_also: list[str] = []
    okome_ingress_tls: bool = False
    okome_ingress_redirect_port: Port | None = None
    okome_vrrp_id: Annotated[int, msgspec.Meta(ge=1, le=255)] | None = None
    okome_vip_prefix: Annotated[int, msgspec.Meta(ge=1, le=128)] = 24
    okome_prometheus_port: Port = 9090
    okome_dash_port: Port = 3000


class _All(msgspec.Struct):
    vars: _Vars
    children: dict[str, _Group]


class _Inventory(msgspec.Struct):
    all: _All


def load_cluster(path: Path) -> Cluster:
    """The cluster that `path` describes. Raises InventoryError."""
    try:
        raw: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
        parsed = msgspec.convert(raw, _Inventory)
    except OSError as error:
        raise InventoryError(f"{path}: cannot be read: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise InventoryError(f"{path}: not valid YAML: {error}") from error
    except msgspec.ValidationError as error:
        raise InventoryError(f"{path}: {error}") from error
    cluster = _build(parsed.all)
    _check(cluster, path)
    return cluster


def _build(parsed: _All) -> Cluster:
    gpus = parsed.children.get("core_gpu", _Group()).hosts
    main = min(gpus, key=lambda name: gpus[name].okome_number, default="")
    nodes = [
        _node(name, role, host, parsed.vars, main)
        for role, group in parsed.children.items()
        for name, host in group.hosts.items()
    ]
    return Cluster(
        name=parsed.vars.okome_cluster,
        vip=parsed.vars.okome_vip,
        ingress_port=parsed.vars.okome_ingress_port,
        also=tuple(parsed.vars.okome_ingress_also),
        stats_port=parsed.vars.okome_stats_port,
        durability=parsed.vars.okome_durability,
        redis_port=parsed.vars.okome_redis_port,
        ingress_tls=parsed.vars.okome_ingress_tls,
        redirect_port=parsed.vars.okome_ingress_redirect_port,
        vrrp_id=parsed.vars.okome_vrrp_id,
        vip_prefix=parsed.vars.okome_vip_prefix,
        dash_port=parsed.vars.okome_dash_port,
        nodes=tuple(sorted(nodes, key=lambda node: node.number)),
    )


def _node(name: str, role: str, host: _Host, common: _Vars, main: str) -> Node:
    """`main`: the first core GPU node, whose engines are called by their kinds alone."""
    engines = tuple(
        EngineSpec(
            kind=e.kind,
            base_url=e.url or f"http://{host.ansible_host}:{e.port}",
            model=e.model,
            context=e.context,
            name=e.name or (e.kind if name == main else f"{e.kind}@{name}"),
        )
        for e in host.okome_engines
    )
    ports = {
        "ingress": common.okome_ingress_port,
        "stream": common.okome_broker_port,
        "control": common.okome_control_port,
        "redis": common.okome_redis_port,
        "cache": common.okome_redis_port,
        "observability": common.okome_prometheus_port,
    }
    port = host.okome_engines[0].port if host.okome_engines else ports.get(role, 0)
    return Node(
        name=name,
        number=host.okome_number,
        address=host.ansible_host,
        role=role,  # type: ignore[arg-type]  # _check refuses any other
        port=port,
        log_tags=tuple(host.okome_log_tags),
        engines=engines,
        vrrp_priority=host.okome_vrrp_priority,
        gpu_exporter_port=host.okome_gpu_exporter_port,
    )


def _check(cluster: Cluster, path: Path) -> None:
    """Unique names, numbers and addresses; known roles; one control plane; tagged brokers."""

    def refuse(message: str) -> None:
        raise InventoryError(f"{path}: {message}")

    for kind in ("name", "number", "address"):
        values = [getattr(node, kind) for node in cluster.nodes]
        for value in values:
            if values.count(value) > 1:
                refuse(f"{kind} {value} is used by more than one node")
    for node in cluster.nodes:
        if node.role not in get_args(Role):
            refuse(f"group {node.role!r} is not a role; roles are {', '.join(get_args(Role))}")
        try:
            ipaddress.ip_address(node.address)
        except ValueError:
            refuse(f"{node.name}: ansible_host {node.address!r} is not an IP address")
        if node.role == "stream" and not node.log_tags:
            refuse(f"{node.name}: okome_log_tags needs one tag per worker")
        if node.role == "core_gpu" and not node.engines:
            refuse(f"{node.name}: okome_engines needs at least one engine")
    if len(cluster.role("control")) != 1:
        refuse("exactly one node in the group `control` is needed")
    if not cluster.role("stream"):
        refuse("at least one node in the group `stream` is needed")
    tags = cluster.log_tags()
    if len(set(tags)) != len(tags):
        refuse("okome_log_tags must be unique")
    for fault in (_log_fault(cluster), _engine_fault(cluster), _vip_fault(cluster)):
        if fault:
            refuse(fault)


def _vip_fault(cluster: Cluster) -> str | None:
    """Who holds the VIP must be decided everywhere alike."""
    if cluster.vrrp_id is None:
        return None
    held: dict[int | None, str] = {}
    for node in cluster.role("ingress"):
        if node.vrrp_priority is None:
            return f"{node.name}: okome_vrrp_priority is needed where okome_vrrp_id is set"
        if (other := held.setdefault(node.vrrp_priority, node.name)) != node.name:
            return f"{node.name}: {other} has the same okome_vrrp_priority"
    return None


def _engine_fault(cluster: Cluster) -> str | None:
    """An engine's name stands for one server."""
    urls: dict[str, tuple[str, str]] = {}
    for node in cluster.role("core_gpu"):
        for spec in node.engines:
            server = spec.kind, spec.base_url
            if urls.setdefault(spec.name, server) != server:
                return f"{node.name}: okome_engines: two servers are called {spec.name!r}"
    return None


def _log_fault(cluster: Cluster) -> str | None:
    """Why the log cannot be kept as durably as `okome_durability` says."""
    if cluster.durability == "local" and len(cluster.role("redis")) != 1:
        return "durability `local` needs exactly one node in the group `redis`"
    if cluster.durability != "replicated":
        return None
    if len(cluster.role("stream")) < PRIMARIES_MIN:
        return f"durability `replicated` needs {PRIMARIES_MIN} nodes in the group `stream`"
    for name, tag in cluster.foreign_tags():
        slots = cluster.log_slots(name)
        return (
            f"{name}: okome_log_tags: {tag!r} falls into slot {slot_of(tag)}, and this node's "
            f"primary owns {slots[0]} to {slots[-1]}; take another tag"
        )
    return None
