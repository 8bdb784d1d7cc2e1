"""One HTTP request to an ASGI application, with both of its ends in the test's hands."""

from __future__ import annotations

import asyncio
from typing import Any


class Exchange:
    """What was sent, and a client that may stop taking, or leave."""

    def __init__(self, app: Any, **scope: Any) -> None:
        self.scope: dict[str, Any] = {
            "type": "http",
            "method": "GET",
            "headers": [],
            "extensions": {"okome.abort": self._abort},
        } | scope
        self.sent: list[dict[str, Any]] = []
        self.aborted = False
        self.takes = asyncio.Event()
        self.takes.set()
        self._left = asyncio.Event()
        self._more = asyncio.Event()
        self.task = asyncio.create_task(app(self.scope, self._receive, self._send))

    async def _receive(self) -> dict[str, Any]:
        await self._left.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: dict[str, Any]) -> None:
        await self.takes.wait()
        self.sent.append(message)
        self._more.set()

    def _abort(self) -> None:
        self.aborted = True

    def leave(self) -> None:
        """The client closes its connection."""
        self._left.set()

    @property
    def body(self) -> bytes:
        """All bytes of the body so far."""
        return b"".join(message.get("body", b"") for message in self.sent)

    @property
    def clean(self) -> bool:
        """Has the body an end?"""
        last = self.sent[-1]
        return last["type"] == "http.response.body" and not last.get("more_body")

    async def until(self, what: bytes) -> None:
        """Waits until the body holds `what`."""
        async with asyncio.timeout(5):
            while what not in self.body:
                self._more.clear()
                await self._more.wait()

    async def ended(self) -> None:
        """Waits until the application has returned."""
        async with asyncio.timeout(5):
            await self.task
