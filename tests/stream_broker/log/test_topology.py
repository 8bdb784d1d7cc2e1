"""Where homes live, by whatever views of the cluster can be had."""

from __future__ import annotations

import asyncio

import pytest

from inventory.slots import slot_of
from stream_broker.log import topology as module
from stream_broker.log.topology import Topology

TAG = "n03w0"
HERE, THERE = ("127.0.0.3", 6379), ("127.0.0.4", 6379)


class Client:
    """A process that says who serves the tag, once it is let to."""

    def __init__(self, says: tuple[str, int], epoch: int = 1, *, answers: bool = True) -> None:
        slot = slot_of(TAG)
        self._text = f"id {says[0]}:{says[1]}@16379 master - 0 0 {epoch} connected {slot}\n"
        self.answering = asyncio.Event()
        if answers:
            self.answering.set()

    async def execute_command(self, *_: str) -> bytes:
        await self.answering.wait()
        return self._text.encode()


async def test_a_view_that_is_late_is_waited_for_when_there_is_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_VIEW_TIMEOUT_S", 0.0)
    clients = {HERE: Client(THERE, answers=False), THERE: Client(THERE, answers=False)}
    topology = Topology(clients, (TAG,))
    refresh = asyncio.create_task(topology.refresh())
    for _ in range(10):
        await asyncio.sleep(0)
    assert not refresh.done()
    clients[HERE].answering.set()
    await refresh
    assert topology.primary(TAG) == THERE


async def test_nobody_waits_long_for_a_second_view(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_VIEW_TIMEOUT_S", 0.0)
    clients = {HERE: Client(HERE), THERE: Client(THERE, answers=False)}
    topology = Topology(clients, (TAG,))
    await topology.refresh()
    assert topology.primary(TAG) == HERE


async def test_the_newest_of_the_views_is_believed() -> None:
    clients = {HERE: Client(HERE, epoch=1), THERE: Client(THERE, epoch=2)}
    topology = Topology(clients, (TAG,))
    await topology.refresh()
    assert topology.primary(TAG) == THERE
