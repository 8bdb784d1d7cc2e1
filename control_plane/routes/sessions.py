"""`/auth`: signing in and out, session tokens, and the public keys that verify them."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from contracts.policy import SCOPE_KEYS
from contracts.problems import ProblemError
from contracts.tokens import TOKEN_MAX
from control_plane.auth import bearer, require_scope, unauthenticated
from control_plane.entrance import Entrance, Opened
from control_plane.passwords import MOST, check_password
from control_plane.plane import Plane
from control_plane.routes.caller import address_of, identify_caller, require_own_origin
from control_plane.routes.cookies import clear, login_secret, set_login, set_session
from control_plane.web import decode, refuse, respond

Typed = Annotated[str, Meta(max_length=MOST)]


class LoginRequest(msgspec.Struct, frozen=True):
    """Body of `POST /auth/login`: an API key, or a name and a password."""

    api_key: Typed | None = None
    name: Typed | None = None
    password: Typed | None = None

    def __repr__(self) -> str:
        return "LoginRequest(…)"


class EnterRequest(msgspec.Struct, frozen=True):
    """Body of `POST /auth/enter`."""

    token: Annotated[str, Meta(max_length=TOKEN_MAX)]

    def __repr__(self) -> str:
        return "EnterRequest(…)"


class LogoutRequest(msgspec.Struct, frozen=True):
    """Body of `POST /auth/logout`, which may be left out."""

    everywhere: bool = False


class PasswordChange(msgspec.Struct, frozen=True):
    """Body of `POST /auth/password`."""

    current: Typed
    new: Typed

    def __repr__(self) -> str:
        return "PasswordChange(…)"


class Sessions:
    """The routes of browser sessions over one plane."""

    def __init__(self, plane: Plane, entrance: Entrance) -> None:
        self._plane = plane
        self._entrance = entrance

    def routes(self) -> list[Route]:
        """All of them."""
        return [
            Route("/auth/login", self.login, methods=["POST"]),
            Route("/auth/token", self.token, methods=["POST"]),
            Route("/auth/enter", self.enter, methods=["POST"]),
            Route("/auth/refresh", self.refresh, methods=["POST"]),
            Route("/auth/logout", self.logout, methods=["POST"]),
            Route("/auth/password", self.password, methods=["POST"]),
            Route("/auth/session", self.session, methods=["GET"]),
            Route("/auth/jwks.json", self.jwks, methods=["GET"]),
        ]

    async def login(self, request: Request) -> Response:
        """A session token for `{api_key}` or `{name, password}`, in the body and as a cookie,
        and a second cookie that renews it."""
        plane = self._plane
        body = await decode(request, LoginRequest, plane.settings.body_max)
        address = address_of(request, plane.ingresses)
        if body.api_key is not None:
            opened = await self._entrance.by_key(body.api_key, address, stays=True)
        elif body.name is not None and body.password is not None:
            opened = await self._entrance.by_password(body.name, body.password, address)
        else:
            raise ProblemError("invalid_request", "Send api_key, or name and password.")
        return self._answer(request, opened)

    async def token(self, request: Request) -> Response:
        """A token for the key that is the bearer credential. No login: it is not renewed."""
        credential = bearer(request.headers.get("authorization"))
        if credential is None:
            raise unauthenticated()
        address = address_of(request, self._plane.ingresses)
        opened = await self._entrance.by_key(credential, address, stays=False)
        return self._answer(request, opened)

    async def enter(self, request: Request) -> Response:
        """A login for a fresh token of `POST /auth/token`, which is spent with it."""
        body = await decode(request, EnterRequest, self._plane.settings.body_max)
        address = address_of(request, self._plane.ingresses)
        return self._answer(request, await self._entrance.by_link(body.token, address))

    async def refresh(self, request: Request) -> Response:
        """A fresh token for the login cookie, and the cookie's next value. One that opens
        nothing is taken away."""
        require_own_origin(request)
        secret = login_secret(request)
        try:
            if secret is None:
                raise unauthenticated()
            return self._answer(request, await self._entrance.renew(secret))
        except ProblemError as problem:
            response = refuse(problem)
            if problem.code == "unauthenticated":
                clear(request, response)
            return response

    async def logout(self, request: Request) -> Response:
        """Ends this login, or with `{everywhere: true}` all that the user has. 204 also
        without a login: the caller has none afterwards, which is what it asked for."""
        by_cookie = "authorization" not in request.headers
        if by_cookie:
            require_own_origin(request)
        body = LogoutRequest()
        if "content-type" in request.headers:
            body = await decode(request, LogoutRequest, self._plane.settings.body_max)
        caller = None
        try:
            caller = identify_caller(request, self._plane)
        except ProblemError as problem:
            if problem.code != "unauthenticated":
                raise
        if caller is not None and body.everywhere:
            require_scope(caller, SCOPE_KEYS)
        secret = login_secret(request) if by_cookie else None
        await self._entrance.leave(caller, secret, everywhere=body.everywhere)
        response = Response(status_code=204, headers={"Cache-Control": "no-store"})
        clear(request, response)
        return response

    async def password(self, request: Request) -> Response:
        """Replaces the caller's own password; its other logins end."""
        caller = identify_caller(request, self._plane)
        require_scope(caller, SCOPE_KEYS)
        body = await decode(request, PasswordChange, self._plane.settings.body_max)
        check_password(body.new, "new")
        by_cookie = "authorization" not in request.headers
        secret = login_secret(request) if by_cookie else None
        address = address_of(request, self._plane.ingresses)
        await self._entrance.change_password(caller, secret, body.current, body.new, address)
        return Response(status_code=204, headers={"Cache-Control": "no-store"})

    async def session(self, request: Request) -> Response:
        """Who the caller is. `expires_at` in Unix seconds, null: never."""
        identity = identify_caller(request, self._plane)
        user = self._plane.roster.user(identity.user_id)
        return respond(
            {
                "user_id": identity.user_id,
                "name": user.name if user else identity.user_id,
                "tier": identity.tier,
                "scopes": identity.scopes,
                "method": identity.method,
                "expires_at": identity.expires_at,
            }
        )

    async def jwks(self, _: Request) -> Response:
        """The public keys (RFC 7517)."""
        cached = {"Cache-Control": "public, max-age=300"}
        return respond({"keys": self._plane.signer.jwks}, headers=cached)

    def _answer(self, request: Request, opened: Opened) -> Response:
        claims, now = opened.claims, self._plane.clock()
        token = self._plane.signer.sign(claims)
        response = respond({"token": token, "expires_at": claims.exp, "user_id": claims.sub})
        set_session(request, response, token, claims.exp - claims.iat)
        if opened.secret is not None:
            set_login(request, response, opened.secret, opened.until - now)
        return response
