"""Work that repeats beside the requests, and ends with its owner."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

log = logging.getLogger(__name__)


@asynccontextmanager
async def repeating(
    name: str, interval_s: float, action: Callable[[], Awaitable[None]]
) -> AsyncIterator[None]:
    """Runs `action` at once and then `interval_s` after each end, while the block runs.

    A failed round is logged and the next one comes as planned.
    """
    task = asyncio.create_task(_repeat(name, interval_s, action), name=name)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _repeat(name: str, interval_s: float, action: Callable[[], Awaitable[None]]) -> None:
    while True:
        try:
            await action()
        except Exception:
            log.exception("%s failed; trying again in %g s", name, interval_s)
        await asyncio.sleep(interval_s)
