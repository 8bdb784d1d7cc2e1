"""`/internal/v1/admin`: what an operator does, with a credential of its own.

The brokers' key opens nothing here, and the admin's opens nothing of theirs.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from contracts.problems import ProblemError
from control_plane.auth import is_service, unauthenticated
from control_plane.plane import Plane
from control_plane.store.audit import Entry
from control_plane.store.users import User
from control_plane.web import plain_text

Endpoint = Callable[[Request], Awaitable[Response]]
Table = list[tuple[str, str, Endpoint]]

ACTOR: Final = "admin"
PREFIX: Final = "/internal/v1/admin"


def guarded(plane: Plane, table: Table) -> list[Route]:
    """Routes of (method, path below the prefix, endpoint), each behind the admin's key."""
    return [
        Route(f"{PREFIX}{path}", _behind_key(plane, endpoint), methods=[method])
        for method, path, endpoint in table
    ]


def _behind_key(plane: Plane, endpoint: Endpoint) -> Endpoint:
    async def behind_key(request: Request) -> Response:
        key = plane.admin_key
        if key is None or not is_service(request.headers.get("authorization"), key):
            raise unauthenticated()
        return await endpoint(request)

    return behind_key


def find_user(plane: Plane, id_or_name: str) -> User:
    """The user of this id, else of this name. Raises ProblemError `not_found`."""
    users = plane.roster.users()
    found = users.get(id_or_name)
    if found is None:
        found = next((user for user in users.values() if user.name == id_or_name), None)
    if found is None:
        raise ProblemError("not_found", "There is no such user.")
    return found


def done(plane: Plane, action: str, subject: str, **detail: object) -> Entry:
    """A line of the audit log for what the admin did."""
    return Entry(at=plane.clock(), actor=ACTOR, action=action, subject=subject, detail=detail)


def asked_user(plane: Plane, request: Request) -> str | None:
    """The id of the user in `?user=`, None without. Raises ProblemError `not_found`."""
    named = request.query_params.get("user")
    return None if named is None else find_user(plane, named).id


def asked_text(request: Request, name: str) -> str | None:
    """A word in the query, None without. Raises ProblemError `invalid_request`."""
    text = request.query_params.get(name)
    return None if text is None else plain_text(text, name)


def asked_number(request: Request, name: str, default: int, most: int) -> int:
    """A whole number from 1 to `most` in the query. Raises ProblemError `invalid_request`."""
    text = request.query_params.get(name, str(default))
    if not (text.isascii() and text.isdigit() and len(text) < 19 and 1 <= int(text) <= most):
        raise ProblemError("invalid_request", f"{name} is from 1 to {most}.", field=name)
    return int(text)
