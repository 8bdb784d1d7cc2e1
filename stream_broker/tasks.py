"""Ending tasks for good."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any, TypeVar

T = TypeVar("T")

_AGAIN_S = 0.1
_TO_END = "told to end"


async def end(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancels tasks and returns once they have ended; what they raise is dropped.

    Cancels again while one goes on: up to Python 3.11 `asyncio.wait_for`, with which
    redis-py writes, swallows a cancellation that meets the end of what it waits for.

    Who ends others here and is ended so itself, however often it is told, leaves none of them
    behind. A time limit around it does.
    """
    everyone = set(tasks)
    pending = everyone
    told: asyncio.CancelledError | None = None
    while pending:
        for task in pending:
            task.cancel(_TO_END)
        try:
            _, pending = await asyncio.wait(pending, timeout=_AGAIN_S)
        except asyncio.CancelledError as cancelled:
            if cancelled.args != (_TO_END,):
                raise
            told = cancelled
            pending = {task for task in pending if not task.done()}
    await asyncio.gather(*everyone, return_exceptions=True)
    if told is not None:
        raise told


async def together(*works: Coroutine[Any, Any, T]) -> list[T]:
    """Runs all at once and returns when all have ended, also after a cancellation.

    Raises what the first of them raised. (A plain `gather` ends with the first that is
    cancelled, and leaves the others to themselves.)
    """
    results = await asyncio.gather(*works, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return results  # type: ignore[return-value]  # what raised is not among them
