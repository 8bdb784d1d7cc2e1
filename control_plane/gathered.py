"""Calls that come while one is under way are made together, as the next one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from contracts.problems import ProblemError

E = TypeVar("E")
R = TypeVar("R")


class Gathered(Generic[E, R]):
    """`act` takes up to `most` entries and returns a result for each, in order.

    A ProblemError fails every entry of that call. Any other exception is taken for the
    fault of one of them: halves are tried apart until it stands alone. `act` must
    therefore do nothing when it raises, or be idempotent.

    Its task ends with the last entry.
    """

    def __init__(self, act: Callable[[list[E]], Awaitable[Sequence[R]]], most: int) -> None:
        self._act = act
        self._most = most
        self._waiting: list[tuple[E, asyncio.Future[R]]] = []
        self._task: asyncio.Task[None] | None = None

    def add(self, entry: E) -> asyncio.Future[R]:
        """The result for `entry`, to be awaited. One that is cancelled may be acted on all
        the same."""
        future: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._waiting.append((entry, future))
        if self._task is None:
            self._task = asyncio.create_task(self._run())
        return future

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
            for (_, future), result in zip(batch, results, strict=True):
                if not future.done():
                    future.set_result(result)
        except Exception as error:
            if len(batch) > 1 and not isinstance(error, ProblemError):
                half = len(batch) // 2
                await self._act_on(batch[:half])
                await self._act_on(batch[half:])
                return
            for _, future in batch:
                if not future.done():
                    future.set_exception(error)
