"""Questions that come at the same time go in one call; nobody waits long for another."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest

from stream_broker.batching import Batches
from tests.support.eventually import eventually_async

MOST = 4


class Callee:
    """Answers each question with ten times as much, when a test says so."""

    def __init__(self) -> None:
        self.calls: list[list[int]] = []
        self.answers: list[asyncio.Future[Sequence[int | Exception]]] = []

    async def __call__(self, questions: list[int]) -> Sequence[int | Exception]:
        self.calls.append(questions)
        self.answers.append(asyncio.get_running_loop().create_future())
        return await self.answers[-1]

    def answer(self, number: int) -> None:
        self.answers[number].set_result([10 * asked for asked in self.calls[number]])


@pytest.fixture
def callee() -> Callee:
    return Callee()


@pytest.fixture
async def batches(callee: Callee) -> AsyncIterator[Batches[int, int]]:
    batches: Batches[int, int] = Batches(callee, MOST, patience_s=3600.0)
    yield batches
    await batches.aclose()


@pytest.fixture
async def hurried(callee: Callee) -> AsyncIterator[Batches[int, int]]:
    """Nobody waits for a call that is under way."""
    batches: Batches[int, int] = Batches(callee, MOST, patience_s=0.0)
    yield batches
    await batches.aclose()


def asking(batches: Batches[int, int], *questions: int) -> list[asyncio.Task[int]]:
    return [asyncio.create_task(batches.ask(question)) for question in questions]


async def begun(callee: Callee, calls: int) -> None:
    await eventually_async(lambda: len(callee.answers) == calls)


async def test_what_comes_in_one_turn_is_one_call(
    callee: Callee, batches: Batches[int, int]
) -> None:
    asked = asking(batches, 1, 2, 3)
    await begun(callee, 1)
    callee.answer(0)
    assert await asyncio.gather(*asked) == [10, 20, 30]
    assert callee.calls == [[1, 2, 3]]


async def test_what_comes_during_a_call_is_the_next(
    callee: Callee, batches: Batches[int, int]
) -> None:
    first = asking(batches, 1)
    await begun(callee, 1)
    then = asking(batches, 2, 3)
    await asyncio.sleep(0)
    callee.answer(0)
    await begun(callee, 2)
    callee.answer(1)
    assert await asyncio.gather(*first, *then) == [10, 20, 30]
    assert callee.calls == [[1], [2, 3]]


async def test_more_than_go_in_one_call_go_in_several(
    callee: Callee, hurried: Batches[int, int]
) -> None:
    asked = asking(hurried, *range(MOST + 1))
    await begun(callee, 2)
    for call in range(2):
        callee.answer(call)
    assert await asyncio.gather(*asked) == [0, 10, 20, 30, 40]
    assert [len(call) for call in callee.calls] == [MOST, 1]


async def test_nobody_waits_for_a_call_that_hangs(
    callee: Callee, hurried: Batches[int, int]
) -> None:
    (hanging,) = asking(hurried, 1)
    await begun(callee, 1)
    (asked,) = asking(hurried, 2)
    await begun(callee, 2)
    callee.answer(1)
    assert await asked == 20
    assert not hanging.done()
    callee.answer(0)
    assert await hanging == 10


async def test_each_is_told_what_stands_in_place_of_its_answer(
    callee: Callee, batches: Batches[int, int]
) -> None:
    asked = asking(batches, 1, 2)
    await begun(callee, 1)
    callee.answers[0].set_result([ValueError("no"), 20])
    with pytest.raises(ValueError, match="no"):
        await asked[0]
    assert await asked[1] == 20


async def test_a_call_that_fails_is_told_to_all_and_the_next_goes_on(
    callee: Callee, batches: Batches[int, int]
) -> None:
    asked = asking(batches, 1, 2)
    await begun(callee, 1)
    callee.answers[0].set_exception(ValueError("away"))
    told = await asyncio.gather(*asked, return_exceptions=True)
    assert [type(error) for error in told] == [ValueError, ValueError]
    (again,) = asking(batches, 3)
    await begun(callee, 2)
    callee.answer(1)
    assert await again == 30


async def test_who_has_left_is_not_asked_for(callee: Callee, batches: Batches[int, int]) -> None:
    (first,) = asking(batches, 1)
    await begun(callee, 1)
    leaving, staying = asking(batches, 2, 3)
    await asyncio.sleep(0)
    leaving.cancel()
    first.cancel()
    await asyncio.sleep(0)
    callee.answer(0)
    await begun(callee, 2)
    callee.answer(1)
    assert await staying == 30
    assert callee.calls == [[1], [3]]


async def test_at_the_end_nobody_is_left_waiting(
    callee: Callee, batches: Batches[int, int]
) -> None:
    under_way = asking(batches, 1)
    await begun(callee, 1)
    asked = [*under_way, *asking(batches, 2)]
    await asyncio.sleep(0)
    await batches.aclose()
    told = await asyncio.gather(*asked, return_exceptions=True)
    assert [type(error) for error in told] == [asyncio.CancelledError] * 2
