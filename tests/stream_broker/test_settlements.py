from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from contracts.grants import Settlement
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
    """A control plane, and spools over one directory, one after the other."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.control = ScriptedControl()
        self.spools: list[SettlementSpool] = []
        self.troubles: list[str] = []

    def spool(self, max_bytes: int = 1 << 20) -> SettlementSpool:
        control: Any = self.control
        self.spools.append(
            SettlementSpool(self.root, control, max_bytes=max_bytes, trouble=self.troubles.append)
        )
        return self.spools[-1]

    def die(self) -> None:
        """The process of the last spool is killed: the kernel lets go of what it held."""
        self.spools.pop().close()

    def settled(self) -> list[str]:
        return [settled.job_id for settled in self.control.settled]

    @property
    def files(self) -> list[Path]:
        return sorted(self.root.glob("*/*.jsonl"))

    @property
    def on_disk(self) -> bytes:
        return b"".join(path.read_bytes() for path in self.files)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    monkeypatch.setattr(module, "_RETRY_S", (0.0,))
    place = Place(tmp_path / "spool")
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
        await eventually_async(lambda: not place.on_disk)
    assert place.settled() == [job_id(number) for number in range(3)]
    assert len(spool) == 0


async def test_a_broker_that_ends_sends_what_waits(place: Place) -> None:
    spool = place.spool()
    for number in range(module.BATCH_MAX + 1):
        spool.add(settlement(number))
    await spool.finish()
    assert (len(place.settled()), place.on_disk) == (module.BATCH_MAX + 1, b"")


async def test_a_broker_that_ends_waits_for_nobody_who_is_away(place: Place) -> None:
    spool = place.spool()
    place.control.away = True
    spool.add(settlement(1))
    await spool.finish()
    place.die()
    assert [waiting.job_id for waiting in place.spool().waiting] == [job_id(1)]


async def test_what_ends_soon_after_a_call_goes_together(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "GATHER_S", 0.2)
    spool = place.spool()
    async with sending(spool):
        spool.add(settlement(1))
        await eventually_async(lambda: place.control.calls == [1])
        for number in (2, 3):
            spool.add(settlement(number))
            for _ in range(10):
                await asyncio.sleep(0)
        await eventually_async(lambda: len(place.settled()) == 3)
    assert place.control.calls == [1, 2]


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
    place.die()
    spool = place.spool()
    async with sending(spool):
        await eventually_async(lambda: not place.on_disk)
    assert place.settled() == [job_id(1)]


async def test_a_settlement_refused_for_good_blocks_nobody(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    spool = place.spool()
    place.control.unsettled = {job_id(1)}
    async with sending(spool):
        spool.add(msgspec.structs.replace(settlement(1), final_text="secret"))
        await eventually_async(lambda: not len(spool))
        spool.add(settlement(2))
        await eventually_async(lambda: place.settled())
    assert place.settled() == [job_id(2)]
    assert place.troubles == ["refused"]
    # What is billed can be read in the log; what was said cannot.
    assert job_id(1) in caplog.text
    assert "secret" not in caplog.text


async def test_a_text_that_is_too_long_for_the_control_plane_goes_without(place: Place) -> None:
    taken = place.control.settle

    async def settle(settlements: Sequence[Settlement]) -> dict[str, str]:
        if any(settlement.final_text is not None for settlement in settlements):
            return {settlement.job_id: "too large" for settlement in settlements}
        return await taken(settlements)

    place.control.settle = settle  # type: ignore[method-assign]
    spool = place.spool()
    async with sending(spool):
        spool.add(msgspec.structs.replace(settlement(1), final_text="long"))
        await eventually_async(lambda: place.settled())
    assert place.settled() == [job_id(1)]
    assert place.troubles == []


async def test_a_full_spool_drops_and_counts(place: Place) -> None:
    spool = place.spool(max_bytes=1024)
    for number in range(10):
        spool.add(settlement(number))
    assert place.troubles == ["dropped"] * (10 - len(spool))
    assert 0 < len(spool) < 10
    assert len(place.on_disk) == spool.bytes <= 1024


async def test_room_comes_back_with_every_settlement_taken(place: Place) -> None:
    spool = place.spool(max_bytes=1024)
    async with sending(spool):
        for number in range(10):
            spool.add(settlement(number))
            await eventually_async(lambda: not len(spool))
    assert (len(place.settled()), spool.bytes, place.troubles) == (10, 0, [])


async def test_a_text_that_does_not_fit_costs_no_settlement(place: Place) -> None:
    spool = place.spool(max_bytes=1024)
    spool.add(msgspec.structs.replace(settlement(1), final_text="x" * 2000))
    async with sending(spool):
        await eventually_async(lambda: place.settled())
    assert (place.troubles, place.control.settled[0].final_text) == ([], None)


async def test_a_crash_sends_again_what_is_in_one_file_at_most(place: Place) -> None:
    spool = place.spool()
    for number in range(2000):
        spool.add(settlement(number))
    files = len(place.files)
    assert files > 5
    enough = asyncio.Event()
    taken = place.control.settle

    async def settle(settlements: Sequence[Settlement]) -> dict[str, str]:
        if len(place.control.settled) >= 1000:
            enough.set()
            await asyncio.Event().wait()
        return await taken(settlements)

    place.control.settle = settle  # type: ignore[method-assign]
    async with sending(spool):
        async with asyncio.timeout(10):
            await enough.wait()
    place.die()
    assert len(place.files) < files
    place.control.settle = taken  # type: ignore[method-assign]
    again = place.spool()
    assert 1000 <= len(again) <= 1000 + 2 * 2000 // files
    async with sending(again):
        await eventually_async(lambda: not place.on_disk, within=10)
    assert sorted(set(place.settled())) == sorted(job_id(number) for number in range(2000))


async def test_another_worker_takes_on_what_nobody_holds(place: Place) -> None:
    place.spool().add(settlement(1))
    second = place.spool()
    second.add(settlement(2))
    # Both live: neither touches the other's.
    assert [len(spool) for spool in place.spools] == [1, 1]
    second.close()
    place.spools.pop()
    first = place.spools[0]
    first.close()
    place.spools.clear()
    async with sending(place.spool()):
        await eventually_async(lambda: not place.on_disk)
    assert sorted(place.settled()) == sorted([job_id(1), job_id(2)])


@pytest.mark.parametrize(
    "garbage", [b'{"job_id":"torn', b"\0" * 100, b"\xff\xfe", b"[" * 5000, b"{}\n[]\n7"]
)
async def test_a_torn_line_costs_no_other_settlement(place: Place, garbage: bytes) -> None:
    place.spool().add(settlement(1))
    place.die()
    with place.files[0].open("ab") as file:
        file.write(garbage)
    spool = place.spool()
    spool.add(settlement(2))
    async with sending(spool):
        await eventually_async(lambda: not place.on_disk)
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
    assert place.troubles == ["unwritten"]


async def test_a_disk_that_has_room_again_is_written(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = os.write
    spool = place.spool()
    place.control.away = True
    with monkeypatch.context() as patched:
        # It takes a part, as a disk does that is just becoming full.
        patched.setattr(os, "write", lambda fd, data: write(fd, data[:20]))
        spool.add(settlement(1))
    spool.add(settlement(2))
    async with sending(spool):
        await eventually_async(lambda: job_id(1).encode() in place.on_disk)
    place.die()
    place.control.away = False
    async with sending(place.spool()):
        await eventually_async(lambda: not place.on_disk)
    assert sorted(place.settled()) == sorted([job_id(1), job_id(2)])


async def test_what_is_not_taken_at_once_is_brought_to_the_disk(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    fsync = os.fsync

    def noted(fd: int) -> None:
        synced.append(os.readlink(f"/proc/self/fd/{fd}"))
        fsync(fd)

    monkeypatch.setattr(os, "fsync", noted)
    spool = place.spool()
    async with sending(spool):
        spool.add(settlement(1))
        await eventually_async(lambda: place.settled())
        # Taken: a power cut costs nothing, and the disk is left in peace.
        assert synced == []
        place.control.away = True
        spool.add(settlement(2))
        await eventually_async(lambda: len(synced) >= 2)
    assert synced[0] == str(place.files[0])
    assert synced[1] == str(place.files[0].parent)


async def test_a_disk_that_fails_to_sync_is_asked_again(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries: list[int] = []

    def broken(fd: int) -> None:
        tries.append(fd)
        if len(tries) < 3:
            raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", broken)
    spool = place.spool()
    place.control.away = True
    async with sending(spool):
        spool.add(settlement(1))
        await eventually_async(lambda: len(tries) >= 4)


async def test_after_a_failure_one_asks_for_all(place: Place) -> None:
    spool = place.spool()
    asked: list[int] = []
    taken = place.control.settle

    async def settle(settlements: Sequence[Settlement]) -> dict[str, str]:
        asked.append(len(settlements))
        return await taken(settlements)

    place.control.settle = settle  # type: ignore[method-assign]
    place.control.away = True
    for number in range(20):
        spool.add(settlement(number))
    async with sending(spool):
        await eventually_async(lambda: len(asked) > 8)
        assert (asked[0], max(asked[1:])) == (20, 1)
        place.control.away = False
        await eventually_async(lambda: not place.on_disk)
    assert asked[-2:] == [1, 19]
    assert len(set(place.settled())) == 20


def test_pauses_grow_and_differ() -> None:
    pauses = [[module._pause(number) for _ in range(50)] for number in (0, 2, 9)]
    assert all(len(set(drawn)) > 10 for drawn in pauses)
    assert max(pauses[0]) < 1 < max(pauses[1]) <= 3 < max(pauses[2]) <= 6
