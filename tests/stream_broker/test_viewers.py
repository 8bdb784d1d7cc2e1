from __future__ import annotations

import asyncio

import pytest

from contracts.problems import ProblemError
from stream_broker.metrics import BrokerMetrics
from stream_broker.viewers import Viewers


class Viewer:
    delivered = 0
    lag = 0

    def __init__(self) -> None:
        self.drained = 0
        self.ended = False

    def drain(self) -> None:
        self.drained += 1

    def cut(self) -> None:
        self.ended = True


@pytest.fixture
def viewers() -> Viewers:
    return Viewers(BrokerMetrics(), 2)


def test_no_more_than_so_many_may_come(viewers: Viewers) -> None:
    one, two = Viewer(), Viewer()
    viewers.add(one)
    viewers.check_room()
    viewers.add(two)
    with pytest.raises(ProblemError) as refused:
        viewers.check_room()
    assert refused.value.code == "overloaded"
    viewers.remove(one)
    viewers.remove(one)
    viewers.check_room()
    assert len(viewers) == 1


def test_a_drain_is_told_to_those_here_and_to_those_that_come(viewers: Viewers) -> None:
    here, late = Viewer(), Viewer()
    viewers.add(here)
    viewers.drain()
    viewers.add(late)
    assert (here.drained, late.drained) == (1, 1)


async def test_it_is_known_when_all_have_gone(viewers: Viewers) -> None:
    viewer = Viewer()
    await viewers.all_gone()
    viewers.add(viewer)
    waiting = asyncio.create_task(viewers.all_gone())
    await asyncio.sleep(0)
    assert not waiting.done()
    viewers.remove(viewer)
    async with asyncio.timeout(5):
        await waiting


def test_how_connections_ended_is_counted(viewers: Viewers) -> None:
    viewers.closed("gone")
    assert b'okome_broker_viewers_closed_total{reason="gone"} 1.0' in viewers._metrics.render()[0]


def test_what_was_delivered_is_counted_past_the_end_of_a_connection(viewers: Viewers) -> None:
    one, two = Viewer(), Viewer()
    one.delivered, two.delivered, two.lag = 5, 3, 7
    viewers.add(one)
    viewers.add(two)
    assert (viewers.delivered, viewers.lag) == (8, 7)
    viewers.remove(two)
    viewers.remove(two)
    assert (viewers.delivered, viewers.lag) == (8, 0)


async def test_with_its_broker_a_connection_ends_and_what_it_waits_for(viewers: Viewers) -> None:
    viewer = Viewer()
    viewers.add(viewer)
    waiting = viewers.spawn(asyncio.Event().wait())  # type: ignore[arg-type]
    async with asyncio.timeout(5):
        await viewers.aclose()
    assert viewer.ended
    assert waiting.cancelled()
