"""Questions that come at the same time, asked in one call.

A call costs both sides more than the question in it: when many streams open at once, the
calls are what there is too much of. So at most one call is under way, what comes meanwhile
goes together in the next one, and the busier both sides are, the less each question costs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Generic, TypeVar

from stream_broker.tasks import end

# Who has waited this long for a call that is under way is asked about beside it.
PATIENCE_S: Final = 0.005

Question = TypeVar("Question")
Answer = TypeVar("Answer")


class Batches(Generic[Question, Answer]):
    """Asks through `call`, which answers each of 1 to `most` questions, in order, or raises
    for all of them."""

    def __init__(
        self,
        call: Callable[[list[Question]], Awaitable[Sequence[Answer | Exception]]],
        most: int,
    ) -> None:
        self._call = call
        self._most = most
        self._waiting: list[tuple[Question, asyncio.Future[Answer]]] = []
        self._under_way: set[asyncio.Task[None]] = set()
        self._next: asyncio.Handle | None = None

    async def ask(self, question: Question) -> Answer:
        """The answer to one question. Raises what stands in its place."""
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.append((question, future))
        self._arrange()
        return await future

    def close(self) -> None:
        """Cancels what is under way; nobody asks any more."""
        if self._next is not None:
            self._next.cancel()
        for _, future in self._waiting:
            future.cancel()
        for task in self._under_way:
            task.cancel()

    async def aclose(self) -> None:
        """The same, and returns once all of it has ended."""
        self.close()
        await end(self._under_way)

    def _arrange(self) -> None:
        if self._next is not None:
            return
        loop = asyncio.get_running_loop()
        if self._under_way:
            self._next = loop.call_later(PATIENCE_S, self._go)
        else:
            # What else comes in this turn of the loop goes along.
            self._next = loop.call_soon(self._go)

    def _go(self) -> None:
        if self._next is not None:
            self._next.cancel()
            self._next = None
        batch, self._waiting = self._waiting[: self._most], self._waiting[self._most :]
        batch = [(question, future) for question, future in batch if not future.done()]
        if batch:
            task = asyncio.get_running_loop().create_task(self._ask(batch))
            self._under_way.add(task)
            task.add_done_callback(self._ended)
        if self._waiting:
            self._arrange()

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._under_way.discard(task)
        if self._waiting and not task.cancelled():
            self._go()

    async def _ask(self, batch: list[tuple[Question, asyncio.Future[Answer]]]) -> None:
        answers: Sequence[Answer | Exception]
        try:
            answers = await self._call([question for question, _ in batch])
        except Exception as error:
            answers = [error] * len(batch)
        except asyncio.CancelledError:
            for _, future in batch:
                future.cancel()
            raise
        for (_, future), answer in zip(batch, answers, strict=True):
            if future.done():  # nobody waits for it any more
                continue
            if isinstance(answer, Exception):
                future.set_exception(answer)
            else:
                future.set_result(answer)
