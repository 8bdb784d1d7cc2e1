"""Configuration of the Redis processes, the log's and the hot cache's, as pure text."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path

from inventory.model import LogStore, Node

# Logs live 15 minutes after their end and are at most 1 MiB each.
MAX_MEMORY = "512mb"
CACHE_MEMORY = "64mb"
# Milliseconds without a sign of life after which a primary counts as failing: a promotion
# takes 2.0 to 2.6 s then, and none came in 10 min of full load (`bench.log_steady`).
NODE_TIMEOUT_MS = 900


def render(store: LogStore, directory: Path, *, clustered: bool, password: str = "") -> str:
    """The redis.conf of one process; `clustered`: it is one of a Redis Cluster.

    `noeviction`: a full Redis refuses a write and the stream waits; evicting would drop
    parts of somebody's answer. No RDB snapshots. A single Redis keeps an append-only file
    (docs/adr/0002); a member of a cluster keeps nothing, its replicas do (docs/adr/0009).
    """
    common = _common(
        store.address,
        store.port,
        directory,
        password,
        memory=MAX_MEMORY,
        eviction="noeviction",
        file="no" if clustered else "yes",
    )
    if clustered:
        common += _CLUSTER.format(address=store.address, timeout=NODE_TIMEOUT_MS)
    return common + (f"masterauth {_quote(password)}\n" if password else "")


def render_cache(
    node: Node, directory: Path, *, password: str = "", memory: str = CACHE_MEMORY
) -> str:
    """The redis.conf of the hot cache: what was not used for longest goes, nothing is kept on
    a disk."""
    return _common(
        node.address,
        node.port,
        directory,
        password,
        memory=memory,
        eviction="allkeys-lru",
        file="no",
    )


def _common(
    address: str,
    port: int,
    directory: Path,
    password: str,
    *,
    memory: str,
    eviction: str,
    file: str,
) -> str:
    common = _COMMON.format(
        address=address,
        port=port,
        directory=_quote(str(directory)),
        # Redis means 127.0.0.1 by its "loopback interface", and others come from 127.86.0.x.
        protected="no" if password or ip_address(address).is_loopback else "yes",
        memory=memory,
        eviction=eviction,
        file=file,
    )
    return common + (f"requirepass {_quote(password)}\n" if password else "")


_COMMON = """\
bind {address}
port {port}
protected-mode {protected}
daemonize no
supervised no
logfile ""
loglevel notice
dir {directory}
appendonly {file}
appendfsync everysec
save ""
maxmemory {memory}
maxmemory-policy {eviction}
tcp-keepalive 60
timeout 0
"""

# `bind-source-addr`: on loopback addresses the processes never meet without it.
# Full coverage is not required: the death of one node's log must not take the others'.
# Replicas stay where the inventory puts them, and all are promoted alike, once `okome redis tend`
# has seen that they follow their primary.
# Synchronised at once and without files, for nodes with SD cards; the backlog bridges a
# replica's short absence. What is left of a synchronisation must go: a later start would
# load it, and take up a log that is long out of date (measured).
# A primary that has nothing to say pings its replicas each second: by that they are seen to follow.
_CLUSTER = """\
bind-source-addr {address}
cluster-enabled yes
cluster-config-file nodes.conf
cluster-announce-ip {address}
cluster-node-timeout {timeout}
cluster-require-full-coverage no
cluster-allow-replica-migration no
cluster-replica-no-failover yes
replica-priority 100
repl-diskless-sync yes
repl-diskless-sync-delay 0
repl-diskless-load on-empty-db
rdb-del-sync-files yes
repl-backlog-size 16mb
repl-ping-replica-period 1
"""


def _quote(text: str) -> str:
    # Redis splits configuration lines like a shell: quotes and backslashes are escaped.
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
