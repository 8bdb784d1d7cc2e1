"""Finds out who calls a public route: API key, bearer token or session cookie."""

from __future__ import annotations

from starlette.requests import Request

from contracts.policy import SESSION_COOKIE
from control_plane.auth import Identity, bearer, check_origin, examine, unauthenticated
from control_plane.plane import Plane


def scheme_of(request: Request) -> str:
    """`https` when the client came by TLS: the ingress ends TLS and says so."""
    forwarded = request.headers.get("x-forwarded-proto", "").strip().lower()
    return forwarded if forwarded in ("http", "https") else request.url.scheme


def address_of(request: Request, ingresses: frozenset[str]) -> str:
    """Where the client is: what an ingress says that it saw, else the other end of the
    connection. Nobody else is believed; on loopback, where every process is ours, all are."""
    peer = request.client.host if request.client else ""
    said = request.headers.get("x-forwarded-for", "").rpartition(",")[2].strip()
    return said if said and (peer in ingresses or peer.startswith("127.")) else peer


def require_own_origin(request: Request) -> None:
    """For requests whose credential a browser adds by itself.

    Raises ProblemError `origin_not_allowed`.
    """
    headers = request.headers
    check_origin(request.method, headers.get("origin"), scheme_of(request), headers.get("host"))


def identify_caller(request: Request, plane: Plane) -> Identity:
    """The caller. `Authorization` wins over the cookie.

    Raises ProblemError `unauthenticated`, or `origin_not_allowed` for a call by cookie that
    changes something and comes from elsewhere.
    """
    credential = bearer(request.headers.get("authorization"))
    if credential is None:
        credential = request.cookies.get(SESSION_COOKIE)
        if credential is None:
            raise unauthenticated()
        require_own_origin(request)
    now = plane.clock()
    proof = examine(credential, plane.signer.public_keys, now)
    return plane.roster.identify(proof, now)
