"""Calls that come while one is under way are made together, as the next one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

E = TypeVar("E")
R = TypeVar("R")


class Gathered(Generic[E, R]):
    """`act` takes up to `most` entries and returns a result for each, in order.

    When it raises, every entry of that call has failed with it. Its task ends with the
    last entry; nobody waits for more than two calls of `act`.
    """

    def __init__(self, act: Callable[[list[E]], Awaitable[Sequence[R]]], most: int) -> None:
        self._act = act
        self._most = most
        self._waiting: list[tuple[E, asyncio.Future[R]]] = []
        self._task: asyncio.Task[None] | None = None

    async def put(self, entry: E) -> R:
        """The result for `entry`. One that is cancelled here may be acted on all the same."""
        future: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._waiting.append((entry, future))
        if self._task is None:
            self._task = asyncio.create_task(self._run())
        return await future

    async def aclose(self) -> None:
        """Returns when all that was put has been acted on."""
        if self._task is not None:
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting[: self._most], self._waiting[self._most :]
                await self._act_on(batch)
        finally:
            self._task = None

    async def _act_on(self, batch: list[tuple[E, asyncio.Future[R]]]) -> None:
        try:
            results = await self._act([entry for entry, _ in batch])
        except Exception as error:
            for _, future in batch:
                if not future.done():
                    future.set_exception(error)
            return
        for (_, future), result in zip(batch, results, strict=True):
            if not future.done():
                future.set_result(result)
