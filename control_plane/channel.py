"""Mutual TLS of the control plane: who is let in, and who may ask for what.

    certificate of the role   may ask for
    okome:broker              /internal
    okome:ingress             everything else, for its clients
    okome:admin               both
    okome:observer            nothing but what each may
    each of them              /healthz, /readyz, /metrics

It stands before the credentials that the routes ask for, not in their place.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from contracts.channel import Role, roles_of
from contracts.problems import ProblemError
from control_plane.web import refuse
from inventory.tls import TlsFiles, server_context

log = logging.getLogger(__name__)

EXTENSION: Final = "okome.roles"
RELOAD_EVERY_S: Final = 10.0

_OPERATIONS: Final = frozenset({"/healthz", "/readyz", "/metrics"})
_EVERYONE: Final[frozenset[Role]] = frozenset({"broker", "ingress", "admin", "observer"})
_INTERNAL: Final[frozenset[Role]] = frozenset({"broker", "admin"})
_PUBLIC: Final[frozenset[Role]] = frozenset({"ingress", "admin"})


def allowed(path: str) -> frozenset[Role]:
    """The roles that may ask for a path, as the router sees it."""
    if path in _OPERATIONS:
        return _EVERYONE
    if path == "/internal" or path.startswith("/internal/"):
        return _INTERNAL
    return _PUBLIC


class RoleGuard:
    """An ASGI application that only those may ask whose certificate has the role."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes the request on, or refuses it with 403."""
        if scope["type"] == "http":
            roles: frozenset[Role] = scope.get("extensions", {}).get(EXTENSION, frozenset())
            needed = allowed(scope["path"])
            if not roles & needed:
                await refuse(_missing(roles, needed))(scope, receive, send)
                return
        await self._app(scope, receive, send)


def _missing(roles: frozenset[Role], needed: frozenset[Role]) -> ProblemError:
    said = " and ".join(sorted(roles)) or "no role of this cluster"
    return ProblemError(
        "role_missing",
        f"This needs a certificate of the role {' or '.join(sorted(needed))}; yours has {said}.",
    )


class RoleConnection(HttpToolsProtocol):
    """uvicorn's connection that tells its requests the roles of its certificate."""

    _roles: frozenset[Role] = frozenset()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Reads the certificate once: it is the same for every request."""
        super().connection_made(transport)
        self._roles = roles_of(transport.get_extra_info("peercert"))

    def on_headers_complete(self) -> None:
        """Adds the roles before the request's task runs."""
        super().on_headers_complete()
        extensions = self.scope.setdefault("extensions", {})
        extensions[EXTENSION] = self._roles  # type: ignore[assignment]


class ServerTls:
    """The listening side: its context, read anew when a file has changed.

    Raises OSError for files that cannot be used.
    """

    def __init__(self, files: TlsFiles) -> None:
        self._files = files
        self._seen = files.state()
        self.context = server_context(files)

    async def check(self) -> None:
        """Takes over files that have changed; new connections see them.

        An authority that was taken out of `ca` is believed until the process restarts.
        """
        try:
            state = self._files.state()
            if state == self._seen:
                return
            self._seen = state
            # One that nobody uses first: a half-written pair must not spoil the other.
            server_context(self._files)
            self._files.load_into(self.context)
        except OSError as error:
            log.error("the new certificate cannot be used: %s", error)
        else:
            log.info("the certificate was read anew")
