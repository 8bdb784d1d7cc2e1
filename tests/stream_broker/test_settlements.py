from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from contracts.grants import BATCH_MAX, Settlement
from contracts.problems import ProblemError
from stream_broker import settlements as module
from stream_broker.settlements import SettlementSpool
from stream_broker.settling import settlement_of
from stream_broker.tasks import end
from tests.stream_broker.building import NOW, complete, head, job_id
from tests.stream_broker.parts import ScriptedControl
from tests.support.eventually import eventually_async


def settlement(number: int) -> Settlement:
    return settlement_of(
        head(job_id(number)),
        complete(1),
        engine="vllm",
        node="n",
        first_token_at=None,
        ended_at=NOW,
    )


class Place:
    """A control plane, and spools over one file, one after the other."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.control = ScriptedControl()
        self.spools: list[SettlementSpool] = []
        self.dropped = 0

    def _drop(self) -> None:
        self.dropped += 1

    def spool(self, max_bytes: int = 1 << 20) -> SettlementSpool:
        control: Any = self.control
        self.spools.append(
            SettlementSpool(self.path, control, max_bytes=max_bytes, dropped=self._drop)
        )
        return self.spools[-1]

    def settled(self) -> list[str]:
        return [settled.job_id for settled in self.control.settled]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    monkeypatch.setattr(module, "_RETRY_S", 0.0)
    place = Place(tmp_path / "spool.jsonl")
    yield place
    for spool in place.spools:
        spool.close()


@asynccontextmanager
async def sending(spool: SettlementSpool) -> AsyncIterator[None]:
    task = asyncio.create_task(spool.run())
    yield
    assert not task.done()
    await end([task])


async def test_settlements_are_sent_in_order_and_the_spool_emptied(place: Place) -> None:
    spool = place.spool()
    async with sending(spool):
        for number in range(3):
            spool.add(settlement(number))
        await eventually_async(lambda: place.path.stat().st_size == 0)
    assert place.settled() == [job_id(number) for number in range(3)]
    assert len(spool) == 0


@pytest.mark.parametrize("refusal", [None, ProblemError("overloaded", "x")])
async def test_they_wait_while_the_control_plane_is_away(
    place: Place, refusal: ProblemError | None
) -> None:
    spool = place.spool()
    place.control.away, place.control.refusal = refusal is None, refusal
    async with sending(spool):
        spool.add(settlement(1))
        for _ in range(10):
            await asyncio.sleep(0)
        assert len(spool) == 1
        place.control.away, place.control.refusal = False, None
        await eventually_async(lambda: place.settled())
    assert place.settled() == [job_id(1)]


async def test_what_was_not_taken_is_sent_by_the_next_process(place: Place) -> None:
    place.spool().add(settlement(1))
    spool = place.spool()
    async with sending(spool):
        await eventually_async(lambda: place.path.stat().st_size == 0)
    assert place.settled() == [job_id(1)]


async def test_a_settlement_refused_for_good_blocks_nobody(place: Place) -> None:
    spool = place.spool()
    place.control.unsettled = {job_id(1)}
    async with sending(spool):
        spool.add(settlement(1))
        spool.add(settlement(2))
        await eventually_async(lambda: place.path.stat().st_size == 0)
    assert place.settled() == [job_id(2)]


async def test_what_waits_goes_in_one_call_as_far_as_one_goes(place: Place) -> None:
    spool = place.spool()
    for number in range(BATCH_MAX + 1):
        spool.add(settlement(number))
    for number in (100, 101):
        spool.add(msgspec.structs.replace(settlement(number), final_text="x" * 50_000))
    async with sending(spool):
        await eventually_async(lambda: place.path.stat().st_size == 0)
    assert place.control.calls == [BATCH_MAX, 2, 1]


async def test_a_full_spool_drops_and_counts(place: Place) -> None:
    spool = place.spool(max_bytes=1024)
    for number in range(10):
        spool.add(settlement(number))
    assert place.dropped == 10 - len(spool) > 0
    assert place.path.stat().st_size <= 1024


async def test_a_text_that_does_not_fit_costs_no_settlement(place: Place) -> None:
    spool = place.spool(max_bytes=1024)
    spool.add(msgspec.structs.replace(settlement(1), final_text="x" * 2000))
    async with sending(spool):
        await eventually_async(lambda: place.settled())
    assert (place.dropped, place.control.settled[0].final_text) == (0, None)


async def test_a_torn_line_costs_no_other_settlement(place: Place) -> None:
    place.spool().add(settlement(1))
    with place.path.open("ab") as file:
        file.write(b'{"job_id":"torn')
    place.spool().add(settlement(2))
    spool = place.spool()
    async with sending(spool):
        await eventually_async(lambda: place.path.stat().st_size == 0)
    assert place.settled() == [job_id(1), job_id(2)]


async def test_a_disk_that_takes_nothing_costs_no_settlement(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    spool = place.spool()
    with monkeypatch.context() as patched:
        patched.setattr(os, "write", full)
        spool.add(settlement(1))
    async with sending(spool):
        await eventually_async(lambda: place.settled())
    assert place.settled() == [job_id(1)]
