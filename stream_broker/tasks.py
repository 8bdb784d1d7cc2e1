"""Ending tasks for good."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

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
