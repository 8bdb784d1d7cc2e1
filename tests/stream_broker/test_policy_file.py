"""What a broker knows when it restarts and nobody is there to ask."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_broker import policy_file as module
from stream_broker.policy import PolicyHolder
from stream_broker.policy_file import Kept, Moment, PolicyFile, Stamp
from stream_broker.tasks import end
from tests.stream_broker.building import NOW, Clock, policy
from tests.stream_broker.parts import ScriptedControl
from tests.support.eventually import eventually_async

CONTROL = "http://127.0.0.1:8000"
spans = st.floats(0, 1e6)
steps = st.floats(-1e6, 1e6)


class Machine:
    """A machine with its clocks and its disk, and a control plane beside it."""

    def __init__(self, state: Path) -> None:
        self.path = state / "policy-n03w0.json"
        self.at = Moment(NOW, 1000.0, "boot-1")
        self.monotonic = Clock(1000.0)
        self.control = ScriptedControl()

    def later(self, seconds: float, *, step: float = 0.0) -> None:
        """Time passes; `step`: what somebody adds to the clock that can be set."""
        self.at = Moment(self.at.unix + seconds + step, self.at.up + seconds, self.at.boot)
        self.monotonic.now += seconds

    def boot(self, seconds: float, *, step: float = 0.0) -> None:
        """The machine starts again, which takes so long."""
        self.at = Moment(self.at.unix + seconds + step, 1.0, f"{self.at.boot}+")
        self.monotonic.now = 1.0

    def holder(self) -> PolicyHolder:
        """A broker starts."""
        control: Any = self.control
        return PolicyHolder(
            control,
            self.monotonic,
            poll=2.0,
            file=PolicyFile(self.path, CONTROL),
            moment=lambda: self.at,
        )

    async def run_once(self) -> None:
        """A broker lives for one poll."""
        holder = self.holder()
        await holder.refresh()
        await holder._keep()


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


@pytest.mark.parametrize("step", [0.0, 3600.0, -3600.0])
async def test_a_broker_begins_with_what_the_last_one_knew(machine: Machine, step: float) -> None:
    await machine.run_once()
    machine.later(120, step=step)
    holder = machine.holder()
    assert holder.ready
    assert holder.snapshot == machine.control.snapshot
    assert holder.age == pytest.approx(120)
    machine.control.away = True
    assert not await holder.refresh()
    machine.later(60)
    assert holder.age == pytest.approx(180)


async def test_restart_after_restart_makes_it_no_younger(machine: Machine) -> None:
    await machine.run_once()
    machine.control.away = True
    for restart in range(1, 5):
        machine.later(100)
        await machine.run_once()
        assert machine.holder().age == pytest.approx(restart * 100)


async def test_every_answered_poll_makes_it_young_again(machine: Machine) -> None:
    holder = machine.holder()
    for poll in range(3):
        await holder.refresh()
        await holder._keep()
        if not poll:
            written = machine.path.stat().st_ino
        machine.later(5)
    assert machine.holder().age == pytest.approx(5)
    # Unchanged, so only its stamp was written after the first time.
    assert machine.path.stat().st_ino == written


@pytest.mark.parametrize(("step", "age"), [(0.0, 200.0), (1000.0, 1200.0), (-1000.0, float("inf"))])
async def test_across_a_boot_the_clock_is_believed_only_forwards(
    machine: Machine, step: float, age: float
) -> None:
    await machine.run_once()
    machine.boot(200, step=step)
    holder = machine.holder()
    # Who has a snapshot can still resume, however old it is.
    assert holder.ready
    assert holder.age == pytest.approx(age)


@given(spans, spans, steps)
def test_within_one_boot_no_step_of_the_clock_counts(
    begin: float, span: float, step: float
) -> None:
    then = Moment(NOW, begin, "b")
    assert Moment(NOW + span + step, begin + span, "b").since(then) == pytest.approx(span, abs=1e-6)


@given(spans, spans, st.sampled_from(["b", "c", ""]))
def test_an_age_is_never_negative(begin: float, end_: float, boot: str) -> None:
    assert Moment(NOW - 5, end_, boot).since(Moment(NOW, begin, "b")) >= 0


async def test_it_is_for_its_owner_only(machine: Machine) -> None:
    await machine.run_once()
    files = sorted(machine.path.parent.iterdir())
    assert [path.suffix for path in files] == [".json", ".stamp"]
    assert [path.stat().st_mode & 0o777 for path in files] == [0o600, 0o600]


def spoilt(kept: bytes, how: str) -> bytes:
    decoded = msgspec.json.decode(kept)
    match how:
        case "torn":
            return kept[: len(kept) // 2]
        case "empty":
            return b""
        case "garbage":
            return b"\xff\x00" * 100
        case "deep":
            return b"[" * 100_000
        case "format":
            decoded["format"] = 2
        case "control":
            decoded["control"] = "http://127.0.0.9:8000"
        case "keys":
            decoded["snapshot"]["public_keys"] = [{"kty": "RSA"}]
    return msgspec.json.encode(decoded)


@pytest.mark.parametrize("how", ["torn", "empty", "garbage", "deep", "format", "control", "keys"])
async def test_what_cannot_be_believed_is_ignored_with_a_line(
    machine: Machine, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    await machine.run_once()
    machine.path.write_bytes(spoilt(machine.path.read_bytes(), how))
    assert not machine.holder().ready
    assert "policy" in caplog.text
    # The next poll mends it.
    await machine.run_once()
    assert machine.holder().ready


async def test_a_file_that_others_may_write_is_not_believed(machine: Machine) -> None:
    await machine.run_once()
    machine.path.chmod(0o666)
    assert not machine.holder().ready


@pytest.mark.parametrize("stamp", [b"", b"{}", b"\xff"])
async def test_without_its_stamp_it_is_as_old_as_it_was_written(
    machine: Machine, stamp: bytes
) -> None:
    holder = machine.holder()
    await holder.refresh()
    await holder._keep()
    machine.later(100)
    await holder.refresh()
    await holder._keep()
    assert machine.holder().age == 0
    machine.path.with_suffix(".stamp").write_bytes(stamp)
    machine.later(1)
    assert machine.holder().age == pytest.approx(101)


def test_the_stamp_of_another_snapshot_does_not_count(machine: Machine) -> None:
    file = PolicyFile(machine.path, CONTROL)
    file.keep(policy(), Stamp(etag="1", at=machine.at))
    newer = Stamp(etag="2", at=machine.at.before(-100))
    machine.path.with_suffix(".stamp").write_bytes(msgspec.json.encode(newer))
    kept = file.load()
    assert isinstance(kept, Kept)
    assert kept.stamp.etag == "1"


async def test_a_running_broker_keeps_what_it_polls(machine: Machine) -> None:
    holder = machine.holder()
    task = asyncio.create_task(holder.run())
    await eventually_async(machine.path.with_suffix(".stamp").exists)
    await end([task])
    assert machine.holder().ready


async def test_a_disk_that_takes_nothing_is_told_of_once(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: object, **__: object) -> int:
        raise OSError(28, "No space left on device")

    holder = machine.holder()
    with monkeypatch.context() as patched:
        patched.setattr(os, "open", full)
        for _ in range(3):
            assert await holder.refresh()
            await holder._keep()
    assert caplog.text.count("cannot be kept") == 1
    await holder._keep()
    assert machine.holder().ready


def test_the_present_has_both_clocks() -> None:
    first, second = module.now(), module.now()
    assert first.boot == second.boot != ""
    assert second.since(first) < 60
