"""The log's Redis Cluster, all twelve processes of it, on loopback addresses of its own."""

from __future__ import annotations

import asyncio
import errno
import signal
import socket
import subprocess
from collections.abc import Awaitable, Callable
from pathlib import Path

import redis

from inventory.load import LOCAL, load_cluster
from inventory.members import Member, owner, parse_members
from inventory.model import Cluster, LogStore
from okome.redis_cluster import RedisCluster
from okome.redis_config import render
from tests.support.eventually import eventually
from tests.support.nets import own_octet

INVENTORY = LOCAL.with_name("local-replicated.yml")
_FORM_S = 20.0
# Longer than an election that is refused because there has just been another one (2 s), and is
# begun again after 4 s.
PATIENCE_S = 9.0


def free_net() -> str:
    """`127.x.y.` of which no address that the inventory uses has anybody at Redis's port."""
    # Two test runs on one machine begin at different ones.
    for count in range(250):
        net = f"127.98.{own_octet(count)}."
        if all(_free(net + str(last)) for last in (43, 44, 45, 46)):
            return net
    raise AssertionError("no free loopback net for a Redis Cluster")


def _free(address: str) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((address, 6379)) == errno.ECONNREFUSED


class ClusterServers:
    """Twelve processes, formed into one cluster by `start`."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self.cluster = self._cluster(free_net())
        self.stores = {store.name: store for store in self.cluster.log_stores()}

    def _cluster(self, net: str) -> Cluster:
        inventory = self._directory / "inventory.yml"
        inventory.write_text(INVENTORY.read_text().replace("127.86.0.", net))
        return load_cluster(inventory)

    def start(self) -> None:
        """Starts and forms the cluster."""
        for store in self.stores.values():
            self.start_one(store)
        self.form()

    def restart_one(self, store: LogStore) -> None:
        """Starts a process that was killed, no sooner than the supervisor would."""
        asyncio.run(self._with(lambda redis: redis.await_replaced(store.name, print)))
        self.start_one(store)

    def start_one(self, store: LogStore) -> None:
        """Starts one process, with what it has kept."""
        directory = self._directory / store.name.replace(":", "-")
        directory.mkdir(exist_ok=True)
        config = directory / "redis.conf"
        config.write_text(render(store, directory, clustered=True))
        with (directory / "log").open("ab") as log:
            self._processes[store.name] = subprocess.Popen(
                ["redis-server", str(config)], stdout=log, stderr=log
            )

    def form(self) -> None:
        """Until all have their part again, and every home its own slots."""
        asyncio.run(self._with(lambda redis: redis.form(_FORM_S)))

    async def tend(self) -> None:
        """Keeps the cluster as it should be, until cancelled."""
        await self._with(lambda redis: redis.tend(print))

    def info(self, store: LogStore) -> bytes:
        """What one process says of its replication; nothing when it does not answer."""
        try:
            answer = self.command(store, "INFO", "replication")
        except redis.RedisError:
            return b""
        assert isinstance(answer, bytes)
        return answer

    async def _with(self, call: Callable[[RedisCluster], Awaitable[None]]) -> None:
        redis_cluster = RedisCluster(self.cluster, patience=PATIENCE_S)
        try:
            await call(redis_cluster)
        finally:
            await redis_cluster.aclose()

    def mend(self) -> None:
        """Starts and lets go on whatever a test has left; forms the cluster again."""
        for store in self.stores.values():
            process = self._processes.get(store.name)
            if process is None or process.poll() is not None:
                self.restart_one(store)
            else:
                process.send_signal(signal.SIGCONT)
        self.form()

    def stop(self) -> None:
        """Ends all."""
        for process in self._processes.values():
            process.kill()
        for process in self._processes.values():
            process.wait()

    def kill(self, store: LogStore) -> None:
        """Ends one process as a power cut would."""
        self._processes[store.name].kill()
        self._processes[store.name].wait()

    def hang(self, store: LogStore) -> None:
        """Stops one: connections stand, nothing is answered."""
        self._processes[store.name].send_signal(signal.SIGSTOP)

    def go_on(self, store: LogStore) -> None:
        """The end of `hang`."""
        self._processes[store.name].send_signal(signal.SIGCONT)

    def left_behind(self) -> list[Path]:
        """Files that a process would load when it is started."""
        return [*self._directory.glob("127*/*.rdb"), *self._directory.glob("127*/appendonlydir")]

    def home(self, node: str) -> LogStore:
        """The process that is to be the primary of `node`."""
        return next(s for s in self.stores.values() if s.home == node and s.primary)

    def primary(self, node: str) -> LogStore | None:
        """The process that is its primary now, when another home is asked."""
        views = [self.members(store) for store in self.stores.values() if store.node != node]
        found = owner(views, self.cluster.log_slots(node)[0])
        return self.stores[found.name] if found else None

    def replicas(self, node: str) -> list[LogStore]:
        """The processes that keep what the home's primary has."""
        return [s for s in self.stores.values() if s.home == node and not s.primary]

    def command(self, store: LogStore, *words: str | int) -> object:
        """Runs one command on a connection of its own."""
        with redis.Redis(
            host=store.address, port=store.port, socket_timeout=2, socket_connect_timeout=2
        ) as client:
            client.response_callbacks.clear()
            return client.execute_command(*words)

    def members(self, store: LogStore) -> tuple[Member, ...]:
        """Who is who, as one process sees it; nobody when it does not answer."""
        try:
            text = self.command(store, "CLUSTER", "NODES")
        except redis.RedisError:
            return ()
        assert isinstance(text, bytes)
        return parse_members(text.decode())

    def wait_promoted(self, node: str, within: float = 15.0) -> LogStore:
        """The replica that has become the primary of `node`."""

        def promoted() -> LogStore | None:
            found = self.primary(node)
            return found if found is not None and not found.primary else None

        found = eventually(promoted, within)
        assert found is not None
        return found

    def flush(self) -> None:
        """Empties the cluster."""
        for store in self.stores.values():
            if store.primary:
                self.command(store, "FLUSHALL")
