"""Is there anybody left where silent streams wait for their answer?

vLLM (0.32) that is told to end kills what computes, closes its port, and keeps the
connections of its streams open for as long as their clients do: without this question they
would be silent until the idle timeout.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from stream_broker.engines.dial import connect
from stream_broker.engines.origin import Origin
from stream_broker.tasks import end

log = logging.getLogger(__name__)

# How long a question waits for others that have it. Streams that are silent doubt once a second
# each: without it, a thousand of them are a thousand connections a second.
GATHER_S: Final = 0.2

Gone = Callable[[], None]


class Presence:
    """Asks a server for a connection on behalf of all streams that doubt it: one question
    at a time for each server, at most five a second, given up after `timeout` seconds.
    """

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._doubts: dict[Origin, list[Gone]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def doubt(self, origin: Origin, gone: Gone) -> None:
        """Calls `gone` later if connections are refused there; else nothing happens."""
        doubts = self._doubts.setdefault(origin, [])
        doubts.append(gone)
        if len(doubts) == 1:
            task = asyncio.get_running_loop().create_task(self._ask(origin))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def aclose(self) -> None:
        """Nothing is called any more."""
        self._doubts.clear()
        await end(self._tasks)

    async def _ask(self, origin: Origin) -> None:
        refused = False
        try:
            await asyncio.sleep(GATHER_S)
            async with asyncio.timeout(self._timeout):
                refused = await refuses(origin)
        except TimeoutError:
            # One that is too busy to take a connection is there.
            pass
        finally:
            doubts = self._doubts.pop(origin, [])
        if refused:
            log.warning("nobody takes connections at %s any more", origin.authority)
            for gone in doubts:
                gone()


async def refuses(origin: Origin) -> bool:
    """Does the machine answer that nobody listens there?"""
    try:
        (await connect(origin)).close()
    except ConnectionRefusedError:
        return True
    except (OSError, UnicodeError):
        return False
    return False
