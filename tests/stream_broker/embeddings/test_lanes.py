"""Requests that share calls: joined, in turn, within bounds, each for itself when it fails."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest

from stream_broker.embeddings.lanes import BYTES_MAX, CALLS_MAX, ITEMS_MAX, Lane
from stream_broker.embeddings.request import Item
from stream_broker.embeddings.vectors import Vector
from stream_broker.embeddings.wire import EngineFailed, EngineRefused
from stream_broker.engines import failures
from stream_broker.tasks import end
from tests.support.eventually import eventually_async


def made(item: Item) -> Vector:
    return Vector(str(item)[:9].encode(), 1)


class Engine:
    """Answers once it is `open`; refuses what holds `bad`."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.open.set()
        self.calls: list[list[Item]] = []
        self.under_way = 0
        self.failure: Exception | None = None

    async def __call__(self, items: Sequence[Item]) -> list[Vector]:
        self.calls.append(list(items))
        self.under_way += 1
        try:
            await self.open.wait()
        finally:
            self.under_way -= 1
        if self.failure is not None:
            raise self.failure
        if any("bad" in str(item) for item in items):
            raise EngineRefused("invalid_request", "bad", "input")
        return [made(item) for item in items]


@pytest.fixture
def engine() -> Engine:
    return Engine()


@pytest.fixture
async def lane(engine: Engine) -> AsyncIterator[Lane]:
    lane = Lane(engine)
    yield lane
    await lane.aclose()


def asked(lane: Lane, *items: Item) -> asyncio.Task[list[Vector]]:
    return asyncio.get_running_loop().create_task(lane.vectors(items))


async def test_what_comes_together_goes_in_one_call(lane: Lane, engine: Engine) -> None:
    one, two = asked(lane, "a", "b"), asked(lane, "c")
    assert await one == [made("a"), made("b")]
    assert await two == [made("c")]
    assert engine.calls == [["a", "c", "b"]]
    assert lane.idle


async def test_what_comes_meanwhile_goes_in_the_next_call(lane: Lane, engine: Engine) -> None:
    engine.open.clear()
    first = asked(lane, "a")
    await eventually_async(lambda: engine.under_way)
    later = [asked(lane, f"l{n}") for n in range(5)]
    await eventually_async(lambda: len(engine.calls) == 2)
    engine.open.set()
    await asyncio.gather(first, *later)
    assert engine.calls == [["a"], ["l0", "l1", "l2", "l3", "l4"]]


async def test_a_call_is_bounded_in_items_and_in_bytes(lane: Lane, engine: Engine) -> None:
    many = [f"t{n}" for n in range(100)]
    assert await asked(lane, *many) == [made(text) for text in many]
    assert max(map(len, engine.calls)) == ITEMS_MAX
    engine.calls.clear()
    big = ["x" * (BYTES_MAX // 2), "y" * (BYTES_MAX // 2), "z", "w" * 2 * BYTES_MAX]
    assert await asked(lane, *big) == [made(text) for text in big]
    assert [len(call) for call in engine.calls] == [2, 1, 1]


async def test_a_short_question_does_not_wait_for_a_library(lane: Lane, engine: Engine) -> None:
    engine.open.clear()
    library = asked(lane, *(f"t{n}" for n in range(10 * ITEMS_MAX)))
    await eventually_async(lambda: engine.under_way == CALLS_MAX)
    question = asked(lane, "q")
    await asyncio.sleep(0)
    engine.open.set()
    await question
    assert "q" in engine.calls[CALLS_MAX]
    assert len(await library) == 10 * ITEMS_MAX


async def test_no_more_calls_are_under_way_than_may_be(lane: Lane, engine: Engine) -> None:
    engine.open.clear()
    tasks = [asked(lane, *(f"{n}-{m}" for m in range(ITEMS_MAX))) for n in range(8)]
    await eventually_async(lambda: engine.under_way == CALLS_MAX)
    engine.open.set()
    await asyncio.gather(*tasks)
    assert len(engine.calls) == 8


async def test_texts_and_tokens_never_share_a_call(lane: Lane, engine: Engine) -> None:
    tasks = [asked(lane, "a"), asked(lane, [1, 2]), asked(lane, "b"), asked(lane, [3])]
    await asyncio.gather(*tasks)
    assert engine.calls == [["a", "b"], [[1, 2], [3]]]


async def test_who_is_refused_takes_nobody_along(lane: Lane, engine: Engine) -> None:
    good, bad, other = asked(lane, "a", "b"), asked(lane, "c", "bad"), asked(lane, "d")
    assert await good == [made("a"), made("b")]
    assert await other == [made("d")]
    with pytest.raises(EngineRefused):
        await bad
    assert engine.calls[1:] == [["a", "b"], ["c", "bad"], ["d"]]


async def test_an_engine_that_fails_fails_all(lane: Lane, engine: Engine) -> None:
    engine.failure = EngineFailed(failures.unreachable())
    results = await asyncio.gather(asked(lane, "a"), asked(lane, "b"), return_exceptions=True)
    assert results == [engine.failure, engine.failure]
    assert len(engine.calls) == 1


async def test_who_leaves_takes_its_call_along(lane: Lane, engine: Engine) -> None:
    engine.open.clear()
    alone = asked(lane, *(f"t{n}" for n in range(ITEMS_MAX)))
    await eventually_async(lambda: engine.under_way == 1)
    await end([alone])
    await eventually_async(lambda: engine.under_way == 0)
    assert lane.idle


async def test_who_leaves_leaves_others_their_call(lane: Lane, engine: Engine) -> None:
    engine.open.clear()
    leaves, stays = asked(lane, "a"), asked(lane, "b")
    await eventually_async(lambda: engine.under_way == 1)
    await end([leaves])
    waits = asked(lane, "c")
    engine.open.set()
    assert await stays == [made("b")]
    assert await waits == [made("c")]


async def test_who_waits_is_served_after_another_s_call_was_cancelled(
    lane: Lane, engine: Engine
) -> None:
    engine.open.clear()
    calls = [asked(lane, f"{n}", *("x" * ITEMS_MAX)) for n in range(CALLS_MAX)]
    await eventually_async(lambda: engine.under_way == CALLS_MAX)
    last = asked(lane, "last")
    await end(calls)
    engine.open.set()
    assert await last == [made("last")]


async def test_closing_cancels_who_waits(lane: Lane, engine: Engine) -> None:
    engine.open.clear()
    tasks = [asked(lane, "a"), asked(lane, "b")]
    await eventually_async(lambda: engine.under_way == 1)
    await lane.aclose()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(result, asyncio.CancelledError) for result in results)
    assert engine.under_way == 0
