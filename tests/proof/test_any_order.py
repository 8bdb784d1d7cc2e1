"""Any order of what may happen to a stream, over real brokers and a real log.

The invariant is prefix equality: whatever dies, hangs, lies or comes back, every viewer
on every broker, whatever its reconnects, has exactly a prefix of the one log, byte for
byte; nothing that was once shown is later absent from the log or from another broker.
At the end of each run all faults end, the engines finish, and everybody has all of it.

`OKOME_PROOF_EXAMPLES=2000 pytest tests/proof` runs it for longer.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from stream_broker import app, engine_run, followers, job_parts, multiplex, serving
from stream_broker.log import stores, tail, writer
from tests.proof.finish import Finish
from tests.proof.forms import Alone, Replicated, Shared
from tests.proof.world import JOBS, VIEWERS, World
from tests.support.chaos_proxy import Mode
from tests.support.redis_cluster import ClusterServers
from tests.support.redis_server import RedisServer

EXAMPLES = int(os.environ.get("OKOME_PROOF_EXAMPLES", "0"))

# Waits of the brokers between two attempts; windows so small that viewers fall out of them.
QUICK = {
    (app, "_NOTICED_S"): 0.0,
    (writer, "_RETRY_S"): (0.005,),
    (tail, "_RETRY_S"): 0.01,
    (stores, "_LOOK_S"): 0.01,
    (engine_run, "_LOG_RETRY_S"): 0.01,
    (serving, "_LOG_RETRY_S"): 0.01,
    (multiplex, "_LOG_RETRY_S"): 0.01,
    (job_parts, "WINDOW_BYTES"): 2048,
    (followers, "WINDOW_BYTES"): 2048,
}

# A rule that lasts longer hangs.
HANGS_S = 25.0

brokers = st.integers(0, 2)
jobs = st.integers(0, JOBS - 1)
viewers = st.integers(0, VIEWERS - 1)
modes: st.SearchStrategy[Mode] = st.sampled_from(["open", "open", "stalled", "deaf", "cut"])


class ProofMachine(RuleBasedStateMachine):
    """Rules never ask how things stand: so a run can be repeated, however fast the machine."""

    size = 1

    def __init__(self, make: Callable[[], World]) -> None:
        super().__init__()
        self.loop = asyncio.Runner()
        self.failed = False
        self.world = make()

    @initialize()
    def begin(self) -> None:
        self.run(self.world.start(self.size))

    def run(self, doing: Coroutine[Any, Any, None]) -> None:
        try:
            self.loop.run(self._bounded(doing))
        except BaseException:
            self.failed = True
            raise

    async def _bounded(self, doing: Coroutine[Any, Any, None]) -> None:
        async with asyncio.timeout(HANGS_S):
            await doing

    def teardown(self) -> None:
        try:
            if self.world.viewers and not self.failed:
                self.loop.run(self._bounded(Finish(self.world).run()))
        finally:
            self.loop.run(self._bounded(self.world.close()))
            self.loop.close()

    async def _do(self, action: Callable[..., object], *arguments: object) -> None:
        action(*arguments)
        await asyncio.sleep(0)

    @rule(job=jobs, at=brokers, words=st.sampled_from([1, 2, 3, 30]))
    def append(self, job: int, at: int, words: int) -> None:
        self.run(self._do(self.world.speak, job, at, words))

    @rule(ms=st.integers(0, 4))
    def flush(self, ms: int) -> None:
        self.run(asyncio.sleep(ms / 1000))

    @rule(viewer=viewers, at=brokers, back=st.sampled_from([0, 0, 1, 7, 99]))
    def reconnect(self, viewer: int, at: int, back: int) -> None:
        self.run(self._do(self.world.connect, viewer, at, back))

    @rule(viewer=viewers)
    def slow_reader(self, viewer: int) -> None:
        self.run(self._do(self.world.viewers[viewer].stop_taking))

    @rule(viewer=viewers)
    def take(self, viewer: int) -> None:
        self.run(self._do(self.world.viewers[viewer].take))

    @rule(viewer=viewers)
    def leave(self, viewer: int) -> None:
        self.run(self._do(self.world.viewers[viewer].leave))

    @rule(job=jobs, at=brokers)
    def end(self, job: int, at: int) -> None:
        self.run(self._do(self.world.end, job, at))

    @rule(job=jobs, at=brokers)
    def cancel(self, job: int, at: int) -> None:
        self.run(self.world.cancel(job, at))

    @rule(job=jobs, at=brokers)
    def break_engine(self, job: int, at: int) -> None:
        self.run(self._do(self.world.break_engine, job, at))

    @rule(job=jobs)
    def expire(self, job: int) -> None:
        self.run(self._do(self.world.expire, job))

    @invariant()
    def everybody_has_a_prefix_of_the_one_log(self) -> None:
        try:
            self.world.look()
        except BaseException:
            self.failed = True
            raise


class FailingMachine(ProofMachine):
    """The same with brokers that die, relays that do not know it, and a log that goes away."""

    size = 3

    @rule(at=brokers, mode=modes)
    def fault(self, at: int, mode: Mode) -> None:
        self.run(self._do(self.world.fault, at, mode))

    @rule(at=brokers)
    def kill(self, at: int) -> None:
        self.run(self.world.kill(at))

    @rule(at=brokers)
    def renew(self, at: int) -> None:
        self.run(self.world.renew(at))

    @rule(at=brokers)
    def drain(self, at: int) -> None:
        self.run(self.world.drain(at))

    @rule(at=brokers)
    def restart(self, at: int) -> None:
        self.run(self.world.restart(at))

    @rule(job=jobs, at=brokers)
    def take_over(self, job: int, at: int) -> None:
        """Also from a relay that lives: it goes on writing, and must not be heard."""
        self.run(self.world.take_over(job, at))

    @rule(really=st.sampled_from([False] * 9 + [True]))
    def come_back_empty(self, really: bool) -> None:
        if really:
            self.run(self._do(self.world.lose_everything))


class ReplicatedMachine(FailingMachine):
    """The same with replicas that stall, without which nothing may be shown."""

    @rule(at=brokers, count=st.integers(0, 2))
    def stall_replicas(self, at: int, count: int) -> None:
        assert isinstance(self.world, Replicated)
        self.run(self._do(self.world.stall_replicas, at, count))


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for (module, name), value in QUICK.items():
        monkeypatch.setattr(module, name, value)


def profile(examples: int) -> settings:
    return settings(
        max_examples=EXAMPLES or examples,
        stateful_step_count=30,
        deadline=None,
        print_blob=True,
        suppress_health_check=list(HealthCheck),
        # Shrinking an example that waits for what never comes would take hours.
        phases=[Phase.explicit, Phase.reuse, Phase.generate],
    )


def test_the_log_in_memory_shows_everybody_a_prefix() -> None:
    run_state_machine_as_test(lambda: ProofMachine(Alone), settings=profile(25))  # type: ignore[no-untyped-call]


def test_the_log_in_redis_shows_everybody_a_prefix(redis_server: RedisServer) -> None:
    def make() -> FailingMachine:
        return FailingMachine(lambda: Shared(redis_server))

    run_state_machine_as_test(make, settings=profile(40))  # type: ignore[no-untyped-call]


def test_the_replicated_log_shows_everybody_a_prefix(cluster_servers: ClusterServers) -> None:
    def make() -> ReplicatedMachine:
        return ReplicatedMachine(lambda: Replicated(cluster_servers))

    run_state_machine_as_test(make, settings=profile(12))  # type: ignore[no-untyped-call]
