"""Ending tasks for good."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any, TypeVar

T = TypeVar("T")

_AGAIN_S = 0.1


async def end(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancels tasks and returns once they have ended; what they raise is dropped.

    Cancels again while one goes on: up to Python 3.11 `asyncio.wait_for`, with which
    redis-py writes, swallows a cancellation that meets the end of what it waits for.
    """
    everyone = set(tasks)
    pending = everyone
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=_AGAIN_S)
    await asyncio.gather(*everyone, return_exceptions=True)


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
