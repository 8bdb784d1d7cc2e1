"""When calls leave that carry what has gathered.

What comes in one turn of the event loop goes in one call. While calls are under way what comes
is gathered for the next one, which leaves when one of them has ended or when somebody has
waited for long enough; so the busier both sides are, the less each question costs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, Generic, TypeVar

from stream_broker.tasks import end

Load = TypeVar("Load")


class Departures(Generic[Load]):
    """`fill` gives what goes next, or None; `carry` is the call with it, which does not raise;
    `waiting` tells whether somebody is left. Who has waited `patience_s` for a call that is under
    way is asked about beside it, unless that makes more than `most` calls."""

    def __init__(
        self,
        fill: Callable[[], Load | None],
        carry: Callable[[Load], Coroutine[Any, Any, None]],
        waiting: Callable[[], bool],
        patience_s: float,
        most: int | None = None,
    ) -> None:
        self._fill = fill
        self._carry = carry
        self._waiting = waiting
        self._patience_s = patience_s
        self._most = most
        self._under_way: dict[asyncio.Task[None], Load] = {}
        self._next: asyncio.Handle | None = None
        self._closed = False

    @property
    def loads(self) -> Iterator[Load]:
        """What is under way."""
        return iter(self._under_way.values())

    @property
    def idle(self) -> bool:
        """Nothing is under way."""
        return not self._under_way

    def arrange(self) -> None:
        """Somebody waits: a call leaves in time."""
        if self._next is not None or self._closed:
            return
        if self._most is not None and len(self._under_way) >= self._most:
            return
        loop = asyncio.get_running_loop()
        if self._under_way:
            self._next = loop.call_later(self._patience_s, self._go)
        else:
            # What else comes in this turn of the loop goes along.
            self._next = loop.call_soon(self._go)

    def drop(self, unwanted: Callable[[Load], bool]) -> None:
        """Cancels calls that nobody wants any more."""
        for task, load in self._under_way.items():
            if unwanted(load):
                task.cancel()

    def close(self) -> None:
        """Cancels what is under way; nothing leaves any more."""
        self._closed = True
        if self._next is not None:
            self._next.cancel()
        for task in self._under_way:
            task.cancel()

    async def aclose(self) -> None:
        """The same, and returns once all of it has ended."""
        self.close()
        await end(self._under_way)

    def _go(self) -> None:
        if self._next is not None:
            self._next.cancel()
            self._next = None
        load = self._fill()
        if load is not None:
            task = asyncio.get_running_loop().create_task(self._carry(load))
            self._under_way[task] = load
            task.add_done_callback(self._ended)
        if self._waiting():
            self.arrange()

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._under_way.pop(task, None)
        if self._waiting() and not self._closed:
            self._go()
