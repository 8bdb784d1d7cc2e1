"""Forms the log's Redis Cluster and keeps its homes where the inventory puts them."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as Broken
from redis.exceptions import RedisError

from inventory.members import parse_members
from inventory.model import Cluster, LogStore
from okome.errors import OkomeError
from okome.redis_plan import Step, View, Views, lacking, next_steps, to_be_replaced

_TIMEOUT_S = 1.0
_PAUSE_S = 0.2
# What may still have data is waited for as long as streams wait for their log (`max_pause`).
PATIENCE_S = 30.0
# Redis gives a manual failover five seconds.
_FAILOVER_S = 6.0
# What an election takes, twice over: one that may not stand is let in after that.
_ELECTION_S = 5.0
# How often a cluster that is as it should be is looked at.
TEND_EVERY_S = 2.0


class RedisCluster:
    """The processes of the log's Redis Cluster, asked and told one by one.

    `patience`: seconds for which one that may have data, and does not answer, is waited for.
    """

    def __init__(self, cluster: Cluster, password: str = "", patience: float = PATIENCE_S) -> None:
        self._cluster = cluster
        self._patience = patience
        self._wanted: dict[Step, float] = {}
        self._node_of = {store.name: store.node for store in cluster.log_stores()}
        self._begun: dict[Step, float] = {}
        self._clients = {store.name: _client(store, password) for store in cluster.log_stores()}

    async def form(self, timeout: float) -> None:
        """Returns once every process has its part and is in sync. Idempotent.

        Raises OkomeError with what is lacking after `timeout` seconds.
        """
        deadline = time.monotonic() + timeout
        while True:
            views = await self.look()
            steps = next_steps(self._cluster, views)
            reasons = lacking(self._cluster, views)
            if not steps and not reasons:
                return
            if time.monotonic() > deadline:
                raise OkomeError(f"the log's Redis Cluster is not formed: {'; '.join(reasons)}")
            await self._carry_out(steps)
            await asyncio.sleep(_PAUSE_S)

    async def await_replaced(self, name: str, report: Callable[[str], None]) -> None:
        """Returns once the process at `name` (`address:port`), which is down, may be started.

        Not later than a stream waits for its log: then there is nothing left to lose.
        """
        (store,) = (store for store in self._cluster.log_stores() if store.name == name)
        deadline = time.monotonic() + self._patience
        told = False
        while await self._is_to_be_replaced(store):
            if time.monotonic() > deadline:
                report(f"{name} was not replaced in {self._patience:g} s; it starts empty")
                return
            if not told:
                report(f"{name} is not started before a replica has taken its place")
                told = True
            await asyncio.sleep(_PAUSE_S)

    async def tend(self, report: Callable[[str], None], node: str | None = None) -> None:
        """Until cancelled: forms the cluster, takes in what comes back, and gives homes
        their slots back. `node`: does so with the processes of that node only.
        """
        while True:
            views = await self.look()
            steps = [
                step
                for step in next_steps(self._cluster, views)
                if node is None or self._node_of[step.at] == node
            ]
            for step in await self._carry_out(steps):
                report(f"{step.at}: {' '.join(map(str, step.words))}")
            calm = len(views) == len(self._clients) and not lacking(self._cluster, views)
            await asyncio.sleep(TEND_EVERY_S if calm else _PAUSE_S)

    async def look(self) -> Views:
        """The views of all processes that answer, by `address:port`."""
        found = await asyncio.gather(*(self._view(name) for name in self._clients))
        return {name: view for name, view in zip(self._clients, found, strict=True) if view}

    async def aclose(self) -> None:
        """Closes all connections."""
        for client in self._clients.values():
            await client.aclose()

    async def _is_to_be_replaced(self, store: LogStore) -> bool:
        views = await self.look()
        missing = [
            other
            for other in self._cluster.log_stores()
            if other.name not in views and other is not store
        ]
        down = await asyncio.gather(*map(_is_down, missing))
        silent = {other.name for other, is_down in zip(missing, down, strict=True) if not is_down}
        return to_be_replaced(self._cluster, store, views, silent)

    async def _view(self, name: str) -> View | None:
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                async with self._clients[name].pipeline(transaction=False) as pipe:
                    pipe.execute_command("CLUSTER", "NODES")
                    pipe.execute_command("CLUSTER", "INFO")
                    pipe.execute_command("INFO", "replication")
                    nodes, state, replication = await pipe.execute()
        except (RedisError, OSError, TimeoutError):
            return None
        return View(
            members=parse_members(nodes),
            state_ok="cluster_state:ok" in state,
            offset=_offset(replication),
            in_sync="master_link_status:up" in replication
            and "master_sync_in_progress:0" in replication,
            streamed=_streamed(replication),
        )

    async def _carry_out(self, steps: list[Step]) -> list[Step]:
        """Returns those that were due. What is refused is found again in the next look."""
        now = time.monotonic()
        self._wanted = {step: self._wanted.get(step, now) for step in steps}
        due = [step for step in steps if self._is_due(step, now)]
        by_process: dict[str, list[Step]] = {}
        for step in due:
            by_process.setdefault(step.at, []).append(step)
        await asyncio.gather(*map(self._in_order, by_process.values()))
        return due

    def _is_due(self, step: Step, now: float) -> bool:
        """A failover that is asked for again begins anew, and writers wait all the while."""
        if step.gives_up_data and now - self._wanted[step] < self._patience:
            return False
        if step.late and now - self._wanted[step] < _ELECTION_S:
            return False
        if not step.takes_time:
            return True
        if now - self._begun.get(step, float("-inf")) < _FAILOVER_S:
            return False
        self._begun[step] = now
        return True

    async def _in_order(self, steps: list[Step]) -> None:
        for step in steps:
            client: Any = self._clients[step.at]
            try:
                async with asyncio.timeout(_TIMEOUT_S):
                    await client.execute_command(*step.words)
            except (RedisError, OSError, TimeoutError):
                continue


async def _is_down(store: LogStore) -> bool:
    """Does nobody listen there? One that takes a connection may yet answer, and so may one
    that was not reached in time."""
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            _, writer = await asyncio.open_connection(store.address, store.port)
    except ConnectionRefusedError:
        return True
    except (OSError, TimeoutError):
        return False
    writer.close()
    return False


def _offset(replication: str) -> int:
    found = re.search(r"^slave_repl_offset:(\d+)", replication, re.MULTILINE)
    return int(found[1]) if found else 0


def _streamed(replication: str) -> bool:
    """A replica drops its backlog with a whole synchronisation, and then fills it with what
    is streamed to it (Redis 7.0)."""
    return re.search(r"^repl_backlog_histlen:[1-9]", replication, re.MULTILINE) is not None


def _client(store: LogStore, password: str) -> Redis:
    client = Redis(
        host=store.address,
        port=store.port,
        password=password or None,
        socket_timeout=_TIMEOUT_S,
        socket_connect_timeout=_TIMEOUT_S,
        # Once more by a new connection: a pooled one is broken where the process was started
        # anew since, and one that answers must not be taken for one that is away.
        retry=Retry(NoBackoff(), 1, supported_errors=(Broken,)),
        decode_responses=True,
    )
    # Replies as they are: the client's own parsing of CLUSTER NODES leaves half of it out.
    client.response_callbacks.clear()
    return client
