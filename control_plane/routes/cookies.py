"""The two cookies of a signed-in browser."""

from __future__ import annotations

from typing import Final, Literal

from starlette.requests import Request
from starlette.responses import Response

from contracts.policy import SESSION_COOKIE
from control_plane.login_secret import LoginSecret, parse_secret
from control_plane.routes.caller import scheme_of

LOGIN_COOKIE: Final = "okome_login"
# The only place that the secret is sent to.
_LOGIN_PATH: Final = "/auth"


def set_session(request: Request, response: Response, token: str, age_s: float) -> None:
    """The signed token, sent with every request to this host."""
    _set(request, response, SESSION_COOKIE, token, age_s, "/", "lax")


def set_login(request: Request, response: Response, secret: LoginSecret, age_s: float) -> None:
    """The secret that renews the token."""
    _set(request, response, LOGIN_COOKIE, str(secret), age_s, _LOGIN_PATH, "strict")


def clear(request: Request, response: Response) -> None:
    """Takes both away."""
    _set(request, response, SESSION_COOKIE, "", 0, "/", "lax")
    _set(request, response, LOGIN_COOKIE, "", 0, _LOGIN_PATH, "strict")


def login_secret(request: Request) -> LoginSecret | None:
    """The secret that a browser added by itself; whoever uses it checks the origin."""
    return parse_secret(request.cookies.get(LOGIN_COOKIE))


def _set(
    request: Request,
    response: Response,
    name: str,
    value: str,
    age_s: float,
    path: str,
    site: Literal["lax", "strict"],
) -> None:
    response.set_cookie(
        name,
        value,
        max_age=max(0, int(age_s)),
        path=path,
        secure=scheme_of(request) == "https",
        httponly=True,
        samesite=site,
    )
