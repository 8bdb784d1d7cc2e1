from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from contracts.grants import EngineTarget
from contracts.policy import PolicyModel
from contracts.problems import ProblemError
from stream_broker import policy as module
from stream_broker.policy import PolicyHolder
from stream_broker.tasks import end
from tests.stream_broker.building import TARGET, Clock, grant, policy
from tests.stream_broker.parts import ScriptedControl

UNPROVEN = EngineTarget(kind="vllm", base_url="http://127.0.0.1:4", model="m4")
STRANGER = EngineTarget(kind="vllm", base_url="http://127.0.0.1:5", model="m5")


class Place:
    """A holder, its clock and its control plane."""

    def __init__(self) -> None:
        self.control = ScriptedControl()
        self.monotonic = Clock(100.0)
        control: Any = self.control
        self.holder = PolicyHolder(control, self.monotonic, poll=2.0)


async def test_without_a_snapshot_it_is_not_ready() -> None:
    holder = Place().holder
    assert not holder.ready
    assert holder.age == float("inf")
    with pytest.raises(ProblemError) as refused:
        _ = holder.snapshot
    assert refused.value.code == "control_plane_unavailable"


async def test_a_poll_brings_the_snapshot() -> None:
    place = Place()
    assert await place.holder.refresh()
    assert place.holder.ready
    assert place.holder.model("small") is not None
    assert place.holder.model("none") is None
    place.monotonic.now += 5
    assert place.holder.age == 5


async def test_an_unchanged_snapshot_is_a_poll_too() -> None:
    place = Place()
    await place.holder.refresh()
    first = place.holder.snapshot
    place.monotonic.now += 5
    assert await place.holder.refresh()
    assert place.holder.snapshot is first
    assert place.holder.age == 0


async def test_what_was_proven_since_a_grant_is_known_of_its_engines() -> None:
    place = Place()
    granted = grant(fallbacks=(UNPROVEN, STRANGER))
    assert place.holder.targets(granted) == granted.targets
    proven = msgspec.structs.replace(UNPROVEN, continues=True, trims=True)
    unsure = msgspec.structs.replace(TARGET, continues=False)
    models = [PolicyModel(id="small", engines=[unsure, proven], context=1, created=1)]
    place.control.snapshot = policy(version="2", models=models)
    await place.holder.refresh()
    assert place.holder.targets(granted) == [TARGET, proven, STRANGER]


@pytest.mark.parametrize("problem", [None, ProblemError("unauthenticated", "x")])
async def test_a_poll_that_fails_keeps_the_last_snapshot(problem: ProblemError | None) -> None:
    place = Place()
    await place.holder.refresh()
    place.control.away, place.control.refusal = problem is None, problem
    place.monotonic.now += 5
    assert not await place.holder.refresh()
    assert place.holder.ready
    assert place.holder.age == 5


async def test_a_snapshot_with_a_broken_key_is_refused_whole() -> None:
    place = Place()
    await place.holder.refresh()
    place.control.snapshot = policy(version="2", public_keys=[{"kty": "RSA"}], revoked=["j"])
    await place.holder.refresh()
    assert place.holder.snapshot.version == "1"
    assert place.holder.revoked == frozenset()


async def test_an_answer_overtaken_by_a_later_one_is_dropped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    place = Place()
    answers = [asyncio.Event(), asyncio.Event()]
    asked = iter(range(2))

    async def answer(_: str | None) -> Any:
        number = next(asked)
        await answers[number].wait()
        return policy(version=str(number + 1)), str(number + 1)

    monkeypatch.setattr(place.control, "policy", answer)
    slow = asyncio.create_task(place.holder.refresh())
    await asyncio.sleep(0)
    place.monotonic.now += 1
    fast = asyncio.create_task(place.holder.refresh())
    await asyncio.sleep(0)
    answers[1].set()
    await fast
    answers[0].set()
    await slow
    assert place.holder.snapshot.version == "2"
    assert place.holder.age == 0


async def test_it_polls_until_it_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    place = Place()
    naps: list[float] = []
    enough = asyncio.Event()

    async def nap(seconds: float) -> None:
        naps.append(seconds)
        place.control.away = len(naps) < 3
        if len(naps) == 4:
            enough.set()
            await asyncio.Event().wait()

    place.control.away = True
    monkeypatch.setattr(module.asyncio, "sleep", nap)
    task = asyncio.create_task(place.holder.run())
    async with asyncio.timeout(5):
        await enough.wait()
    await end([task])
    assert naps == [0.1, 0.1, 0.1, 2.0]
