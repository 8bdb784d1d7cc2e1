"""The questions to a log's Redis that are under way, and the end of all of them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable, Iterator
from typing import Any, Final

from stream_broker.log.base import LogUnavailable

# A call that is under way ends by its client's own limits; this is for one that does not.
_LAST_S: Final = 5.0


class Asks:
    """Counts who asks, until it is closed.

    A call whose connection is closed under it connects once more (`store.connect`): only when
    it has ended is there nobody left who could.
    """

    def __init__(self) -> None:
        self.closed = False
        self._under_way = 0
        self._none = asyncio.Event()
        self._none.set()

    @contextlib.contextmanager
    def one(self) -> Iterator[None]:
        """A question. Raises LogUnavailable once this is closed."""
        if self.closed:
            raise LogUnavailable("the log is closed here")
        self._under_way += 1
        self._none.clear()
        try:
            yield
        finally:
            self._under_way -= 1
            if not self._under_way:
                self._none.set()

    async def close(self, clients: Iterable[Any]) -> None:
        """Closes the clients, and again what those have opened meanwhile who were asking, also
        those who have ended before the last of the clients was closed."""
        self.closed = True
        clients = list(clients)
        asked = self._under_way > 0
        for client in clients:
            await client.aclose()
        if not asked:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LAST_S):
                await self._none.wait()
        for client in clients:
            await client.aclose()
