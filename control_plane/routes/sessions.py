"""`/auth`: session tokens for API keys, and the public keys that verify them."""

from __future__ import annotations

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from contracts.policy import SESSION_COOKIE, SessionClaims
from contracts.problems import ProblemError
from control_plane.auth import KeyProof, bearer, examine, unauthenticated
from control_plane.plane import Plane
from control_plane.routes.caller import identify_caller, require_own_origin, scheme_of
from control_plane.signing import new_session
from control_plane.store.tokens import note_token, revoke_token
from control_plane.web import decode, respond


class LoginRequest(msgspec.Struct, frozen=True):
    """Body of `POST /auth/login`."""

    api_key: str

    def __repr__(self) -> str:
        return "LoginRequest(api_key=…)"


class Sessions:
    """The routes of browser sessions over one plane."""

    def __init__(self, plane: Plane) -> None:
        self._plane = plane

    def routes(self) -> list[Route]:
        """All of them."""
        return [
            Route("/auth/login", self.login, methods=["POST"]),
            Route("/auth/token", self.token, methods=["POST"]),
            Route("/auth/logout", self.logout, methods=["POST"]),
            Route("/auth/session", self.session, methods=["GET"]),
            Route("/auth/jwks.json", self.jwks, methods=["GET"]),
        ]

    async def login(self, request: Request) -> Response:
        """A session token for `{api_key}`, in the body and as a cookie."""
        body = await decode(request, LoginRequest, self._plane.settings.body_max)
        return await self._open(request, body.api_key)

    async def token(self, request: Request) -> Response:
        """The same, with the key as bearer credential."""
        credential = bearer(request.headers.get("authorization"))
        if credential is None:
            raise unauthenticated()
        return await self._open(request, credential)

    async def _open(self, request: Request, api_key: str) -> Response:
        plane = self._plane
        try:
            claims = await self._new_session(api_key)
        except ProblemError:
            plane.metrics.logins.labels("refused").inc()
            raise
        plane.metrics.logins.labels("ok").inc()
        token = plane.signer.sign(claims)
        answer = {"token": token, "expires_at": claims.exp, "user_id": claims.sub}
        response = respond(answer)
        self._set_cookie(request, response, token, int(claims.exp - claims.iat))
        return response

    async def _new_session(self, api_key: str) -> SessionClaims:
        """Only a key opens a session: a session cannot prolong itself."""
        plane, now = self._plane, self._plane.clock()
        proof = examine(api_key, plane.signer.public_keys, now)
        if not isinstance(proof, KeyProof):
            raise unauthenticated()

        identity = plane.roster.identify(proof, now)
        claims = new_session(identity, plane.settings.session_ttl, now)
        await plane.database.run(lambda c: note_token(c, claims, key_id=identity.proof_id))
        return claims

    async def logout(self, request: Request) -> Response:
        """Revokes the session token and clears the cookie. 204 also without a valid session:
        the caller has none afterwards, which is what it asked for."""
        if "authorization" not in request.headers:
            require_own_origin(request)
        try:
            identity = identify_caller(request, self._plane)
        except ProblemError as problem:
            if problem.code != "unauthenticated":
                raise
        else:
            if identity.method == "session" and identity.expires_at is not None:
                jti, now = identity.proof_id, self._plane.clock()
                await self._plane.database.run(lambda c: revoke_token(c, jti, now), durable=True)
                await self._plane.reload_roster()
        response = Response(status_code=204, headers={"Cache-Control": "no-store"})
        self._set_cookie(request, response, "", 0)
        return response

    async def session(self, request: Request) -> Response:
        """Who the caller is. `expires_at` in Unix seconds, null: never."""
        identity = identify_caller(request, self._plane)
        return respond(
            {
                "user_id": identity.user_id,
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

    def _set_cookie(self, request: Request, response: Response, token: str, age_s: int) -> None:
        response.set_cookie(
            SESSION_COOKIE,
            token,
            max_age=age_s,
            path="/",
            secure=scheme_of(request) == "https",
            httponly=True,
            samesite="lax",
        )
