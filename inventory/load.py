"""Reads an Ansible inventory into a typed `Cluster`, with every fault by its line."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from contracts.grants import EngineKind
from inventory.checks import cross_faults
from inventory.faults import FaultsError
from inventory.model import Cluster, Durability, EngineSpec, Node
from inventory.shape import WRONG, Shaper
from inventory.yaml_tree import Node as Tree
from inventory.yaml_tree import read_tree

LOCAL = Path(__file__).with_name("local.yml")
Port = Annotated[int, msgspec.Meta(ge=1, le=65535)]


class InventoryError(Exception):
    """The inventory cannot be used; each of `lines` names file, line and place of a fault."""

    def __init__(self, lines: Sequence[str]) -> None:
        self.lines = list(lines)
        super().__init__("; ".join(self.lines))


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
    okome_speculative: Literal["off", "broker"] = "off"


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
    okome_runbook_url: Annotated[str, msgspec.Meta(pattern=r"^(https?://[^\s#]+)?$")] = ""


class _All(msgspec.Struct):
    vars: _Vars
    children: dict[str, _Group]


class _Inventory(msgspec.Struct):
    all: _All


_OURS = [name for part in (_Host, _Vars) for name in part.__struct_fields__]
# Close to one of ours, and read by playbooks alone.
_OF_PLAYBOOKS = frozenset({"okome_core_gpu"})


class _InventoryShaper(Shaper):
    """Ansible has variables of its own; what only looks like one of ours is a slip."""

    def stray(self, part: type[msgspec.Struct], key: str, entry: Tree, path: str) -> None:
        if part is _Engine:
            super().stray(part, key, entry, path)
        elif part is _Group and key == "children":
            self.fault(entry, path, "groups inside of groups are not read; name the hosts here")
        elif key.startswith("okome_"):
            meant = get_close_matches(key, _OURS, n=1, cutoff=0.85)
            if meant and key not in _OF_PLAYBOOKS:
                self.fault(entry, path, f"is not known here; `{meant[0]}` may be meant")


def load_cluster(path: Path) -> Cluster:
    """The cluster that `path` describes. Raises InventoryError."""
    try:
        text = path.read_bytes()
    except OSError as error:
        raise InventoryError([f"{path}: cannot be read: {error.strerror}"]) from error
    try:
        return read_cluster(text, str(path))
    except FaultsError as error:
        raise InventoryError(error.lines()) from error


def read_cluster(text: bytes, file: str) -> Cluster:
    """The cluster in a text that messages call `file`. Raises FaultsError."""
    root, faults = read_tree(text, file)
    shaper = _InventoryShaper()
    parsed = shaper.shape(root, _Inventory, "")
    faults += shaper.faults
    if parsed is WRONG or faults:
        raise FaultsError(file, faults)
    cluster = _build(parsed.all)
    if faults := cross_faults(cluster, shaper.lines):
        raise FaultsError(file, faults)
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
        runbook_url=parsed.vars.okome_runbook_url,
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
    tags = tuple(host.okome_log_tags)
    if role == "speculative":
        broker = host.okome_speculative == "broker"
        port, tags = (common.okome_broker_port, tags) if broker else (0, ())
    return Node(
        name=name,
        number=host.okome_number,
        address=host.ansible_host,
        role=role,  # type: ignore[arg-type]  # cross_faults refuses any other
        port=port,
        log_tags=tags,
        engines=engines,
        vrrp_priority=host.okome_vrrp_priority,
        gpu_exporter_port=host.okome_gpu_exporter_port,
    )
