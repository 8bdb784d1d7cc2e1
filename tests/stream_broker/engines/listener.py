"""A sink that a test can wait on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from stream_broker.engines.deltas import Delta, Failure, Finish, Text


class Listener:
    """Keeps what it hears. Whoever waits gives up after 30 s, so that no test hangs."""

    def __init__(self) -> None:
        self.heard: list[Delta] = []
        self.calls = 0
        self._changed = asyncio.Event()

    def deltas(self, deltas: list[Delta]) -> None:
        assert deltas
        assert not self.ended, "a delta after the last one"
        self.heard += deltas
        self.calls += 1
        self._changed.set()

    @property
    def ended(self) -> bool:
        return any(isinstance(delta, (Finish, Failure)) for delta in self.heard)

    @property
    def text(self) -> str:
        return "".join(delta.text for delta in self.heard if isinstance(delta, Text))

    @property
    def finish(self) -> Finish:
        last = self.heard[-1]
        assert isinstance(last, Finish), last
        return last

    @property
    def code(self) -> str:
        last = self.heard[-1]
        assert isinstance(last, Failure), last
        return last.code

    async def until(self, true: Callable[[], bool]) -> None:
        async with asyncio.timeout(30):
            while not true():
                self._changed.clear()
                await self._changed.wait()

    async def end(self) -> None:
        await self.until(lambda: self.ended)

    async def texts(self, number: int) -> None:
        """Waits for this many pieces of text, or the end."""
        await self.until(lambda: len(self.heard) >= number or self.ended)
