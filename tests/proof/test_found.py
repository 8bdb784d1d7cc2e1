"""Orders of events that were found to go wrong once, each by itself."""

from __future__ import annotations

import pytest

from tests.proof.forms import Replicated, Shared
from tests.proof.test_any_order import FailingMachine, _quick
from tests.proof.world import BY_EVENTS, World
from tests.support.redis_cluster import ClusterServers
from tests.support.redis_server import RedisServer

__all__ = ["_quick"]


@pytest.fixture(params=["local", "replicated"])
def world(request: pytest.FixtureRequest) -> World:
    if request.param == "local":
        server: RedisServer = request.getfixturevalue("redis_server")
        return Shared(server)
    servers: ClusterServers = request.getfixturevalue("cluster_servers")
    return Replicated(servers)


@pytest.mark.parametrize("viewer", [0, BY_EVENTS])
def test_a_store_that_comes_back_empty_as_somebody_comes_to_watch(
    world: World, viewer: int
) -> None:
    """The job had been found, and the store was not read from before it was empty."""
    machine = FailingMachine(lambda: world)
    try:
        machine.begin()  # type: ignore[no-untyped-call]
        machine.append(job=0, at=0, words=3)  # type: ignore[no-untyped-call]
        machine.kill(at=0)  # type: ignore[no-untyped-call]
        machine.reconnect(viewer=viewer, at=2, back=0)  # type: ignore[no-untyped-call]
        machine.come_back_empty(really=True)  # type: ignore[no-untyped-call]
    finally:
        machine.teardown()


def test_a_cancellation_at_a_relay_that_does_not_know_yet_that_it_is_one_no_more(
    world: World,
) -> None:
    """It was answered with 202, and the job went on at the relay that had taken over."""
    machine = FailingMachine(lambda: world)
    try:
        machine.begin()  # type: ignore[no-untyped-call]
        machine.take_over(job=1, at=2)  # type: ignore[no-untyped-call]
        machine.cancel(job=1, at=1)  # type: ignore[no-untyped-call]
        assert world.cancelled == {world.jobs[1]}
    finally:
        machine.teardown()


def test_a_renewal_by_a_relay_that_is_one_no_more(world: World) -> None:
    """It kept the lease of the one that had taken over alive, and went on."""
    machine = FailingMachine(lambda: world)
    try:
        machine.begin()  # type: ignore[no-untyped-call]
        machine.take_over(job=1, at=2)  # type: ignore[no-untyped-call]
        assert world.twins[1].relays(world.jobs[1])
        machine.renew(at=1)  # type: ignore[no-untyped-call]
        assert not world.twins[1].relays(world.jobs[1])
    finally:
        machine.teardown()
