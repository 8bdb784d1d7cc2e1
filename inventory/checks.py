"""What no single member of an inventory shows: whether its nodes fit together. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator, Mapping
from typing import get_args

from inventory.faults import Fault, below
from inventory.model import PRIMARIES_MIN, Cluster, Node, Role
from inventory.slots import slot_of

_GROUPS = "all.children"
_VARS = "all.vars"
# Of a node, and where the inventory says it.
_UNIQUE = {"number": "okome_number", "address": "ansible_host"}


def cross_faults(cluster: Cluster, lines: Mapping[str, int]) -> list[Fault]:
    """Every fault. `lines`: the line of every path of the file."""
    found = [fault for check in _CHECKS for fault in check(cluster)]
    return [Fault(_line(lines, path), path, message) for path, message in found]


def _line(lines: Mapping[str, int], path: str) -> int:
    """Of the path, or of what it would stand in."""
    while path and path not in lines:
        path = path.rpartition(".")[0]
    return lines.get(path, 1)


Found = Iterator[tuple[str, str]]


def _at(node: Node, member: str = "") -> str:
    place = below(_GROUPS, node.role, "hosts", node.name)
    return below(place, member) if member else place


def _unknown_groups(cluster: Cluster) -> Found:
    known = get_args(Role)
    for role in dict.fromkeys(node.role for node in cluster.nodes):
        if role not in known:
            message = f"group {role!r} is not a role; roles are {', '.join(known)}"
            yield below(_GROUPS, role), message


def _used_twice(cluster: Cluster) -> Found:
    for attribute, member in {"name": "", **_UNIQUE}.items():
        first: dict[object, Node] = {}
        for node in cluster.nodes:
            value = getattr(node, attribute)
            other = first.setdefault(value, node)
            if other is not node:
                also = f"in `{other.role}` too" if member == "" else f"{other.name} has it too"
                message = f"{attribute} {value} is used by more than one node: {also}"
                yield _at(node, member), message


def _addresses(cluster: Cluster) -> Found:
    for node in cluster.nodes:
        if not _is_address(node.address):
            message = f"{node.name}: ansible_host {node.address!r} is not an IP address"
            yield _at(node, "ansible_host"), message
        elif node.address == cluster.vip and cluster.vrrp_id is not None:
            message = f"{node.name}: ansible_host is the VIP, which is no node's own"
            yield _at(node, "ansible_host"), message
    if not _is_address(cluster.vip):
        yield below(_VARS, "okome_vip"), f"{cluster.vip!r} is not an IP address"


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _roles(cluster: Cluster) -> Found:
    for node in cluster.role("stream"):
        if not node.log_tags:
            yield _at(node), f"{node.name}: okome_log_tags needs one tag per worker"
    for node in cluster.role("speculative"):
        if node.port and not node.log_tags:
            yield _at(node), f"{node.name}: okome_log_tags needs one tag per worker of a broker"
    for node in cluster.role("core_gpu"):
        if not node.engines:
            yield _at(node), f"{node.name}: okome_engines needs at least one engine"
    if len(cluster.role("control")) != 1:
        yield below(_GROUPS, "control"), "exactly one node in the group `control` is needed"
    if not cluster.role("stream"):
        yield below(_GROUPS, "stream"), "at least one node in the group `stream` is needed"


def _tags(cluster: Cluster) -> Found:
    first: dict[str, Node] = {}
    for node in (*cluster.role("stream"), *cluster.role("speculative")):
        for tag in node.log_tags:
            if tag in first:
                message = f"okome_log_tags must be unique: {first[tag].name} has {tag!r} too"
                yield _at(node, "okome_log_tags"), message
            first.setdefault(tag, node)


def _log(cluster: Cluster) -> Found:
    """Why the log cannot be kept as durably as `okome_durability` says."""
    place = below(_VARS, "okome_durability")
    if cluster.durability == "local" and len(cluster.role("redis")) != 1:
        yield place, "durability `local` needs exactly one node in the group `redis`"
    if cluster.durability != "replicated":
        return
    if len(cluster.role("stream")) < PRIMARIES_MIN:
        yield place, f"durability `replicated` needs {PRIMARIES_MIN} nodes in the group `stream`"
        return
    for node in cluster.role("stream"):
        slots = cluster.log_slots(node.name)
        for tag in node.log_tags:
            if slot_of(tag) not in slots:
                message = (
                    f"{node.name}: okome_log_tags: {tag!r} falls into slot {slot_of(tag)}, and "
                    f"this node's primary owns {slots[0]} to {slots[-1]}; take another tag"
                )
                yield _at(node, "okome_log_tags"), message


def _engines(cluster: Cluster) -> Found:
    """An engine's name stands for one server."""
    servers: dict[str, tuple[str, str]] = {}
    for node in cluster.role("core_gpu"):
        for place, spec in enumerate(node.engines):
            server = spec.kind, spec.base_url
            if servers.setdefault(spec.name, server) != server:
                message = f"{node.name}: okome_engines: two servers are called {spec.name!r}"
                yield below(_at(node, "okome_engines"), place), message


def _vip(cluster: Cluster) -> Found:
    """Who holds the VIP must be decided everywhere alike."""
    if cluster.vrrp_id is None:
        return
    held: dict[int, str] = {}
    for node in cluster.role("ingress"):
        priority = node.vrrp_priority
        if priority is None:
            message = f"{node.name}: okome_vrrp_priority is needed where okome_vrrp_id is set"
            yield _at(node), message
        elif (other := held.setdefault(priority, node.name)) != node.name:
            message = f"{node.name}: {other} has the same okome_vrrp_priority"
            yield _at(node, "okome_vrrp_priority"), message


_CHECKS: tuple[Callable[[Cluster], Found], ...] = (
    _unknown_groups, _used_twice, _addresses, _roles, _tags, _log, _engines, _vip,
)  # fmt: skip
