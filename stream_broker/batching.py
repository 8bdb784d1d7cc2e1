"""Questions that come at the same time, asked in one call.

A call costs both sides more than the question in it: when many streams open at once, the
calls are what there is too much of.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Generic, TypeVar

from stream_broker.departures import Departures

PATIENCE_S: Final = 0.005

Question = TypeVar("Question")
Answer = TypeVar("Answer")


class Batches(Generic[Question, Answer]):
    """Asks through `call`, which answers each of 1 to `most` questions, in order, or raises
    for all of them. `patience_s`: see Departures."""

    def __init__(
        self,
        call: Callable[[list[Question]], Awaitable[Sequence[Answer | Exception]]],
        most: int,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self._call = call
        self._most = most
        self._waiting: list[tuple[Question, asyncio.Future[Answer]]] = []
        self._departures = Departures(
            self._fill, self._ask, lambda: bool(self._waiting), patience_s
        )

    async def ask(self, question: Question) -> Answer:
        """The answer to one question. Raises what stands in its place."""
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.append((question, future))
        self._departures.arrange()
        return await future

    def close(self) -> None:
        """Cancels what is under way; nobody asks any more."""
        self._departures.close()
        for _, future in self._waiting:
            future.cancel()

    async def aclose(self) -> None:
        """The same, and returns once all of it has ended."""
        self.close()
        await self._departures.aclose()

    def _fill(self) -> list[tuple[Question, asyncio.Future[Answer]]] | None:
        batch, self._waiting = self._waiting[: self._most], self._waiting[self._most :]
        return [(question, future) for question, future in batch if not future.done()] or None

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
