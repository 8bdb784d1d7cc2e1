"""`okome redis …`: the log's Redis Cluster by hand, by systemd and by Ansible."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from inventory.load import LOCAL, load_cluster
from inventory.model import Cluster, LogStore
from okome.errors import OkomeError
from okome.redis_cluster import RedisCluster
from okome.redis_config import render


def config(inventory: Path | None, process: str, directory: Path, password: Path | None) -> str:
    """The redis.conf of the process at `address:port`."""
    store = _store(_cluster(inventory), process)
    return render(store, directory, clustered=True, password=_password(password))


def configs(inventory: Path | None, directory: Path, password: Path | None) -> dict[str, Any]:
    """The redis.conf of every process, by address and port; each has a directory of its own,
    called by its port, in `directory`."""
    cluster, secret = _cluster(inventory), _password(password)
    found: dict[str, Any] = {}
    for store in cluster.log_stores():
        text = render(store, directory / str(store.port), clustered=True, password=secret)
        found.setdefault(store.address, {})[str(store.port)] = text
    return found


def form(inventory: Path | None, password: Path | None, timeout: float) -> None:
    """Returns once the cluster is formed. Raises OkomeError when it is not in time."""

    async def run(redis: RedisCluster) -> None:
        await redis.form(timeout)

    asyncio.run(_with(_cluster(inventory), _password(password), run))


def tend(
    inventory: Path | None, password: Path | None, node: str | None, report: Callable[[str], None]
) -> None:
    """Tends the cluster until it is interrupted."""
    cluster = _cluster(inventory)
    if node is not None and node not in {store.node for store in cluster.log_stores()}:
        raise OkomeError(f"{node} has no Redis in this inventory")

    async def run(redis: RedisCluster) -> None:
        await redis.tend(report, node)

    with suppress(KeyboardInterrupt):
        asyncio.run(_with(cluster, _password(password), run))


def await_replaced(
    inventory: Path | None, password: Path | None, process: str, report: Callable[[str], None]
) -> None:
    """Returns once the process, which is down, may be started."""
    cluster = _cluster(inventory)
    _store(cluster, process)

    async def run(redis: RedisCluster) -> None:
        await redis.await_replaced(process, report)

    asyncio.run(_with(cluster, _password(password), run))


async def _with(
    cluster: Cluster, password: str, run: Callable[[RedisCluster], Awaitable[None]]
) -> None:
    redis = RedisCluster(cluster, password)
    try:
        await run(redis)
    finally:
        await redis.aclose()


def _cluster(inventory: Path | None) -> Cluster:
    path = inventory or LOCAL
    cluster = load_cluster(path)
    if cluster.durability != "replicated":
        raise OkomeError(f"{path}: its okome_durability is not `replicated`: it has no cluster")
    return cluster


def _store(cluster: Cluster, process: str) -> LogStore:
    for store in cluster.log_stores():
        if store.name == process:
            return store
    known = ", ".join(store.name for store in cluster.log_stores())
    raise OkomeError(f"{process} is no Redis of this inventory; there are {known}")


def _password(file: Path | None) -> str:
    if file is None:
        return ""
    try:
        return file.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise OkomeError(f"{file}: cannot be read: {error.strerror}") from error
