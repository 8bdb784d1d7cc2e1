"""Waiting for a real condition, with a bound: the only polling in the tests."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")
PAUSE = 0.02


def eventually(condition: Callable[[], T], within: float = 5.0) -> T:
    """The first truthy value of `condition()`; AssertionError when `within` seconds are over."""
    deadline = time.monotonic() + within
    while not (value := condition()):
        assert time.monotonic() < deadline, f"still not so after {within} s: {_text(condition)}"
        time.sleep(PAUSE)
    return value


async def eventually_async(condition: Callable[[], T | Awaitable[T]], within: float = 5.0) -> T:
    """As `eventually`, beside a running event loop; `condition` may be a coroutine function."""
    deadline = time.monotonic() + within
    while True:
        value = condition()
        if inspect.isawaitable(value):
            value = await value
        if value:
            return value
        assert time.monotonic() < deadline, f"still not so after {within} s: {_text(condition)}"
        await asyncio.sleep(PAUSE)


def _text(condition: Callable[..., object]) -> str:
    try:
        return inspect.getsource(condition).strip()
    except (OSError, TypeError):
        return repr(condition)
