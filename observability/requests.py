"""Binds the ids of a request to what is logged on its way (ASGI)."""

from __future__ import annotations

import re
from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

from observability.logs import bind
from observability.traces import ASKED, asked_of

# The ingress makes one that looks so, or passes on a client's; others can say anything.
_SANE: Final = re.compile(rb"[\w.-]{1,64}")
# W3C Trace Context: version, trace, parent, flags.
_TRACE: Final = re.compile(rb"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")


class BoundRequests:
    """Before `app`: lines have the `request_id` and the `trace_id` that the headers
    X-Request-Id and traceparent say, and spans their place. Each request is a task of its
    own."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket"):
            ids = ids_of(scope["headers"])
            if ids:
                bind(**ids)
            said = dict(scope["headers"])
            ASKED.set(asked_of(said.get(b"traceparent", b""), said.get(b"x-request-start", b"")))
        await self._app(scope, receive, send)


def ids_of(headers: list[tuple[bytes, bytes]]) -> dict[str, str]:
    """What is said and sane; of several the last."""
    found = {}
    for name, value in headers:
        if name == b"x-request-id" and _SANE.fullmatch(value):
            found["request_id"] = value.decode("ascii")
        elif name == b"traceparent" and (match := _TRACE.fullmatch(value)):
            found["trace_id"] = match[1].decode("ascii")
    return found
