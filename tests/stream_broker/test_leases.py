from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from contracts.problems import ProblemError
from stream_broker import leases as module
from stream_broker.degraded import LEASE_PREFIX
from stream_broker.leases import LeaseKeeper
from stream_broker.tasks import end
from tests.stream_broker.building import USER
from tests.stream_broker.parts import ScriptedControl


class Keeper:
    """A running keeper whose turns the test takes one by one."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.control = ScriptedControl()
        control: Any = self.control
        self.keeper = LeaseKeeper(control, "node-3", interval=10.0)
        self._turn = asyncio.Semaphore(0)
        self._slept = asyncio.Semaphore(0)
        monkeypatch.setattr(module.asyncio, "sleep", self._sleep)

    async def _sleep(self, seconds: float) -> None:
        assert seconds == 10.0
        self._slept.release()
        await self._turn.acquire()

    async def turn(self) -> None:
        async with asyncio.timeout(5):
            await self._slept.acquire()
            self._turn.release()
            await self._slept.acquire()
            self._slept.release()


@pytest.fixture
async def place(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Keeper]:
    place = Keeper(monkeypatch)
    task = asyncio.create_task(place.keeper.run())
    yield place
    assert not task.done()
    await end([task])


async def test_all_leases_are_renewed_in_one_call(place: Keeper) -> None:
    for lease in ("b", "a", "c"):
        place.keeper.hold(lease, USER)
    place.keeper.drop("c")
    place.keeper.drop("never held")
    await place.turn()
    assert place.control.renewed == [["a", "b"]]


async def test_without_leases_nobody_is_asked(place: Keeper) -> None:
    await place.turn()
    assert place.control.renewed == []


async def test_a_lease_that_lapsed_is_acquired_again_and_kept(place: Keeper) -> None:
    place.keeper.hold("a", USER)
    place.keeper.hold("b", "user-2")
    place.control.unknown = ["b", "ended meanwhile"]
    await place.turn()
    await place.turn()
    assert place.control.renewed == [["a", "b"]] * 2
    assert place.control.acquired == [({"b": "user-2"}, "node-3")] * 2


async def test_a_lease_granted_alone_gets_its_slot_when_the_control_plane_is_back(
    place: Keeper,
) -> None:
    place.keeper.hold(LEASE_PREFIX + "x", USER)
    place.control.unknown = [LEASE_PREFIX + "x"]
    await place.turn()
    assert place.control.acquired == [({LEASE_PREFIX + "x": USER}, "node-3")]


@pytest.mark.parametrize("refusal", [None, ProblemError("overloaded", "x")])
async def test_a_control_plane_that_is_away_changes_nothing(
    place: Keeper, refusal: ProblemError | None
) -> None:
    place.keeper.hold("a", USER)
    place.control.away, place.control.refusal = refusal is None, refusal
    await place.turn()
    place.control.away, place.control.refusal = False, None
    await place.turn()
    assert place.control.renewed == [["a"]]
