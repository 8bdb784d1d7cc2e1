"""The files of a node that are made from the inventory, as Ansible puts them there."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec

from inventory.load import load_cluster
from inventory.model import Cluster, Node
from okome.deploy import firewall as rules
from okome.errors import OkomeError
from okome.redis_config import render_cache

_MEMORY = re.compile(r"[1-9]\d*(mb|gb)", re.IGNORECASE)


def firewalls(inventory: Path, admissions: bytes) -> dict[str, str]:
    """The nftables rules of the nodes that are named in `admissions`, JSON with who may come
    in. Raises OkomeError."""
    try:
        admitted = msgspec.json.decode(admissions, type=dict[str, rules.Admission])
    except (msgspec.ValidationError, msgspec.DecodeError) as error:
        raise OkomeError(f"who may come in: {error}") from error
    return {name: _firewall(inventory, name, each) for name, each in admitted.items()}


def _firewall(inventory: Path, name: str, admission: rules.Admission) -> str:
    cluster, node = find(inventory, name)
    try:
        return rules.render(cluster, node, admission)
    except ValueError as error:
        raise OkomeError(f"{name}: its firewall: {error}") from error


def cache(inventory: Path, name: str, password: Path, directory: Path, memory: str) -> str:
    """The redis.conf of the hot cache. Raises OkomeError."""
    _, node = find(inventory, name)
    if node.role != "cache":
        raise OkomeError(f"{inventory}: {name} is no node of the group `cache`")
    if _MEMORY.fullmatch(memory) is None:
        raise OkomeError(f"{memory!r} is no amount of memory; say it as 512mb or 4gb")
    try:
        said = password.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise OkomeError(f"{password}: cannot be read: {error.strerror}") from error
    return render_cache(node, directory, password=said, memory=memory)


def find(inventory: Path, name: str) -> tuple[Cluster, Node]:
    """The cluster, and its node of that name. Raises OkomeError."""
    cluster = load_cluster(inventory)
    try:
        return cluster, cluster.node(name)
    except KeyError:
        raise OkomeError(f"{inventory}: {name} is no node of it") from None
