"""OKOME: one real broker with a real control plane, as `okome up` prepares and starts them.

A variant is a row: what its inventory has and what its settings are.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from bench.ask import MODEL
from bench.peers.base import Ground, Peer, engine_url
from bench.processes import HARNESS_CORE, OURS
from bench.spec import Target
from inventory.load import LOCAL
from inventory.model import Cluster, Durability
from inventory.settings import Settings
from okome.credentials import read_api_key
from okome.derive import OwnEngine
from okome.paths import Paths
from okome.plan import ProcessSpec, redis_name
from okome.prepare import Launch, Options, prepare
from okome.redis_cluster import RedisCluster

_NETWORK = "127.90.0"
_NODE = 43

# One user asks for everything here, for long, and much of it at once.
_SETTINGS = {
    "streams_per_user": 1_000_000,
    "jobs_per_broker": 100_000,
    "viewers_per_broker": 100_000,
    "max_tokens": 1_000_000,
    "job_log_max": 1 << 30,
    "memory_log_max": 1 << 32,
    "job_deadline": 3600,
    "engine_idle_timeout": 3600,
    "send_timeout": 3600,
    # An answer that no longer runs is of no use to the next measurement.
    "log_ttl": 10,
}


@dataclass(frozen=True, slots=True)
class Variant:
    """One way to run it: the optional groups of its inventory, and its settings."""

    name: str
    title: str
    groups: frozenset[str]
    settings: Mapping[str, Any]
    skips: frozenset[str] = frozenset()
    durability: Durability = "none"


# Ten million tokens would all stay in the broker, as durability `none` has it.
_IN_MEMORY = frozenset({"frozen", "flood"})
VARIANTS = (
    Variant(
        "okome-alone",
        "OKOME, log in memory, no pacing",
        frozenset(),
        {"pacing": "off"},
        _IN_MEMORY,
    ),
    Variant(
        "okome-python",
        "OKOME without its native part, log in memory, no pacing",
        frozenset(),
        {"pacing": "off", "native": "off"},
        _IN_MEMORY,
    ),
    Variant(
        "okome-smooth",
        "OKOME, log in memory, paced",
        frozenset(),
        {"pacing": "smooth"},
        _IN_MEMORY,
    ),
    Variant(
        "okome-local",
        "OKOME, log in one Redis, no pacing",
        frozenset({"redis"}),
        {"pacing": "off"},
        durability="local",
    ),
    Variant(
        "okome-replicated",
        "OKOME, log in a Redis Cluster, no pacing",
        frozenset(),
        {"pacing": "off"},
        durability="replicated",
    ),
)


def _peer(variant: Variant) -> Peer:
    def start(ground: Ground) -> Target:
        return _start(ground, variant)

    def missing(_: Path) -> str | None:
        known = Settings.__struct_fields__
        if variant.settings.get("pacing") == "smooth" and "pacing" not in known:
            return "there is no setting `pacing` yet"
        return None

    return Peer(variant.name, variant.title, start, lambda _: "", missing, variant.skips)


PEERS = tuple(map(_peer, VARIANTS))


def _start(ground: Ground, variant: Variant) -> Target:
    source = ground.work / "source.yml"
    source.write_text(yaml.safe_dump(_inventory(variant)), encoding="utf-8")
    paths = Paths(state=ground.work / "state", runtime=ground.work / "runtime")
    options = Options(
        inventory=source,
        assignments=_assignments(variant),
        engine=OwnEngine("vllm", engine_url(), MODEL, 1_000_000),
    )
    launch = prepare(options, paths, os.environ, lambda _: None)
    _unbound_redis(launch)
    broker = launch.cluster.role("stream")[0]
    plan = [spec for spec in launch.plan if spec.role != "stream" or spec.node == broker.name]
    for spec in sorted(plan, key=lambda spec: spec.role != "redis"):
        _start_process(ground, spec, launch.cluster)
    if variant.durability == "replicated":
        asyncio.run(_form(launch.cluster))
    key = read_api_key(paths.credentials)
    return Target(broker.address, broker.port, {"Authorization": f"Bearer {key}"})


async def _form(cluster: Cluster) -> None:
    redis = RedisCluster(cluster)
    try:
        await redis.form(30.0)
    finally:
        await redis.aclose()


def _start_process(ground: Ground, spec: ProcessSpec, cluster: Cluster) -> None:
    """The broker and its own log count; the control plane, and what replicates the log, are
    on other machines in service."""
    if spec.argv is None:
        return
    elsewhere = spec.role == "redis" and spec.listens[0] not in _own_redis(cluster)
    if spec.role == "control":
        ground.aside("control", *spec.argv, **OURS)
    elif elsewhere:
        ground.processes.start(spec.name, spec.argv, HARNESS_CORE, OURS)
    else:
        name = "broker" if spec.role == "stream" else spec.role
        ground.proxy(name, *spec.argv, **OURS)


def _own_redis(cluster: Cluster) -> set[str]:
    """`address:port` of the primary of the measured broker, or of the one Redis there is."""
    first = cluster.log_stores()[0]
    return {first.name}


def _inventory(variant: Variant) -> dict[str, Any]:
    """The one-machine inventory with one broker, at addresses of the bench."""
    raw: dict[str, Any] = yaml.safe_load(LOCAL.read_text(encoding="utf-8"))
    common, groups = raw["all"]["vars"], raw["all"]["children"]
    common["okome_durability"] = variant.durability
    common["okome_vip"] = f"{_NETWORK}.18"
    common["okome_ingress_also"] = []
    kept = {"stream", "control", "core_gpu", *variant.groups}
    raw["all"]["children"] = {name: group for name, group in groups.items() if name in kept}
    stream = groups["stream"]["hosts"]
    groups["stream"]["hosts"] = {
        name: host
        for name, host in stream.items()
        if host["okome_number"] == _NODE - 40 or variant.durability == "replicated"
    }
    for group in groups.values():
        for host in group["hosts"].values():
            host["ansible_host"] = f"{_NETWORK}.{host['ansible_host'].rpartition('.')[2]}"
    return raw


def _assignments(variant: Variant) -> tuple[str, ...]:
    known = Settings.__struct_fields__
    wanted = {**_SETTINGS, **variant.settings}
    return tuple(f"{name}={value}" for name, value in wanted.items() if name in known)


def _unbound_redis(launch: Launch) -> None:
    """What a limit on memory would refuse here, the machine has: a log of ten million tokens."""
    for store in launch.cluster.log_stores():
        config = launch.paths.of_process(redis_name(launch.cluster, store)) / "redis.conf"
        # A later line of a redis.conf overrides an earlier one.
        config.write_text(config.read_text("utf-8") + "maxmemory 0\n", encoding="utf-8")
