"""What became of the streams' tasks: ends that were a cancellation, and faults."""

from __future__ import annotations

import pytest

from stream_broker.engines.deltas import Text
from stream_broker.events import Event
from stream_broker.views.native import NativeView
from stream_broker.watch import Watch
from tests.stream_broker.building import JOB
from tests.stream_broker.parts import Parts
from tests.stream_broker.viewing import Place, unavailable
from tests.support.eventually import eventually_async


@pytest.fixture
async def place(parts: Parts) -> Place:
    await parts.begin()
    return Place(parts)


async def test_a_slow_client_takes_the_end_of_a_drained_stream_too(place: Place) -> None:
    client = await place.open()
    await eventually_async(lambda: len(place.viewers))
    client.connection.fill()
    place.viewers.drain()
    await eventually_async(lambda: place.viewers._tasks)
    assert not client.clean
    client.connection.take()
    await client.ended()
    assert client.clean
    assert place.closed("drained") == 1


async def test_a_client_that_does_not_take_the_end_of_a_drained_stream_is_dropped(
    place: Place,
) -> None:
    client = await place.open(send_timeout=0.01)
    await eventually_async(lambda: len(place.viewers))
    client.connection.fill()
    place.viewers.drain()
    await client.ended()
    assert client.aborted
    assert place.closed("send_timeout") == 1


async def test_with_its_broker_a_stream_is_cut(place: Place) -> None:
    client = await place.open()
    place.say(Text("a"))
    await client.until(b'"a"')
    await place.viewers.aclose()
    await client.ended()
    assert not client.clean
    assert not client.connection.open
    assert place.parts.runner.jobs[JOB].viewers == 0


async def test_with_its_broker_the_look_for_a_job_ends(place: Place) -> None:
    client = await place.open(away=True, find=unavailable)
    await eventually_async(lambda: len(place.viewers))
    await place.viewers.aclose()
    await client.ended()
    assert not client.clean
    assert place.viewers._tasks == set()


class FaultyView(NativeView):
    """Cannot say some things."""

    def __init__(self, faults: set[str]) -> None:
        super().__init__()
        self.faults = faults

    def blocks(self, events: list[Event]) -> bytes:
        if self.faults & {event.name for event in events}:
            raise ValueError("a fault")
        return super().blocks(events)

    def failure(self, event: Event) -> bytes:
        raise ValueError(f"a fault at {event.seq}")


async def test_a_fault_at_the_beginning_cuts_the_stream(place: Place) -> None:
    place.say(Text("a"))
    await eventually_async(lambda: place.parts.runner.jobs[JOB].window.shown)
    client = await place.open(view=FaultyView({"token"}))
    await client.ended()
    assert not client.clean
    assert len(place.viewers) == 0
    assert place.parts.runner.jobs[JOB].viewers == 0


async def test_a_fault_at_the_end_cuts_the_stream(place: Place) -> None:
    client = await place.open(view=FaultyView(set()))
    place.say(Text("a"))
    await client.until(b'"a"')
    place.parts.log.refuses = "missing"
    place.say(Text("b"))
    await client.ended()
    assert not client.clean
    assert len(place.viewers) == 0


async def test_a_fault_while_its_job_is_looked_for_cuts_the_stream(place: Place) -> None:
    async def find(_: int) -> Watch:
        raise ValueError("a fault")

    client = await place.open(away=True, find=find)
    await client.ended()
    assert not client.clean
    assert len(place.viewers) == 0


async def test_a_stream_has_no_task_while_it_is_silent(place: Place) -> None:
    client = await place.open()
    place.say(Text("a"))
    await client.until(b'"a"')
    assert client.task.done()
    assert place.viewers._tasks == set()
    assert not client.over
    client.leave()
    await client.ended()
