"""Items of many requests on their way to one model, joined into calls of bounded size.

An engine computes many items in hardly more time than one. Requests take turns: each has one
item in a call before any has its second, so that a short question does not wait for a whole
library.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from stream_broker.departures import Departures
from stream_broker.embeddings.request import Item, size_of
from stream_broker.embeddings.vectors import Vector
from stream_broker.embeddings.wire import EngineRefused

# Of one call.
ITEMS_MAX: Final = 32
BYTES_MAX: Final = 32 << 10
CALLS_MAX: Final = 4
PATIENCE_S: Final = 0.02

Ask = Callable[[Sequence[Item]], Awaitable[list[Vector]]]


class _Wanted:
    """The items of one request."""

    __slots__ = ("future", "items", "left", "next", "vectors")

    def __init__(self, items: Sequence[Item]) -> None:
        self.items = items
        self.next = 0
        self.left = len(items)
        self.vectors: list[Vector | None] = [None] * len(items)
        self.future: asyncio.Future[list[Vector]] = asyncio.get_running_loop().create_future()

    def take(self, place: int, vector: Vector) -> None:
        """One more is there."""
        self.vectors[place] = vector
        self.left -= 1
        if not self.left and not self.future.done():
            self.future.set_result([one for one in self.vectors if one is not None])

    def fail(self, error: Exception) -> None:
        """There is no answer to all of it, so to none of it."""
        if not self.future.done():
            self.future.set_exception(error)


_Places = list[tuple[_Wanted, int]]


class Lane:
    """The way to one model of one engine, whose call is `ask`; `sent` is told how many items
    each call had. It holds no more than its callers do."""

    def __init__(self, ask: Ask, sent: Callable[[int], object] = lambda _: None) -> None:
        self._ask = ask
        self._sent = sent
        self._waiting: deque[_Wanted] = deque()
        self._departures = Departures(
            self._fill, self._call, lambda: bool(self._waiting), PATIENCE_S, CALLS_MAX
        )

    @property
    def idle(self) -> bool:
        """Nobody waits."""
        return not self._waiting and self._departures.idle

    async def vectors(self, items: Sequence[Item]) -> list[Vector]:
        """One for each item, in order. Raises EngineRefused or EngineFailed.

        Whoever is cancelled takes its items along, and a call with no others in it.
        """
        wanted = _Wanted(items)
        self._waiting.append(wanted)
        self._departures.arrange()
        try:
            return await wanted.future
        finally:
            self._leave(wanted)

    async def aclose(self) -> None:
        """Ends all calls; who waits is told that it is cancelled."""
        waiting = {wanted for places in self._departures.loads for wanted, _ in places}
        for wanted in waiting.union(self._waiting):
            wanted.future.cancel()
        await self._departures.aclose()

    def _leave(self, wanted: _Wanted) -> None:
        if wanted in self._waiting:
            self._waiting.remove(wanted)
        self._departures.drop(lambda places: all(other.future.done() for other, _ in places))

    def _fill(self) -> _Places | None:
        """The next call: an item of each request in turn, of one type."""
        places: _Places = []
        size = 0
        passed: list[_Wanted] = []
        while self._waiting and len(places) < ITEMS_MAX:
            wanted = self._waiting.popleft()
            item = wanted.items[wanted.next]
            if places and size + size_of(item) > BYTES_MAX:
                passed.append(wanted)
                break
            if places and type(item) is not type(_item(places[0])):
                # Engines take texts or token lists, never both in a call.
                passed.append(wanted)
                continue
            size += size_of(item)
            places.append((wanted, wanted.next))
            wanted.next += 1
            if wanted.next < len(wanted.items):
                self._waiting.append(wanted)
        # Who was passed over comes first the next time.
        self._waiting.extendleft(reversed(passed))
        if places:
            self._sent(len(places))
        return places or None

    async def _call(self, places: _Places) -> None:
        try:
            await self._answer(places)
        except EngineRefused as refused:
            # One of them is refused: each is to answer for itself.
            of = {id(wanted): wanted for wanted, _ in places}
            if len(of) == 1:
                places[0][0].fail(refused)
                return
            for wanted in of.values():
                await self._alone([place for place in places if place[0] is wanted])
        except Exception as error:
            for wanted, _ in places:
                wanted.fail(error)

    async def _alone(self, places: _Places) -> None:
        if places[0][0].future.done():
            return
        try:
            await self._answer(places)
        except Exception as error:
            places[0][0].fail(error)

    async def _answer(self, places: _Places) -> None:
        vectors = await self._ask([wanted.items[place] for wanted, place in places])
        for (wanted, place), vector in zip(places, vectors, strict=True):
            wanted.take(place, vector)


def _item(place: tuple[_Wanted, int]) -> Item:
    wanted, number = place
    return wanted.items[number]
