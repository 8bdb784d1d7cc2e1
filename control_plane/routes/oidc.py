"""`/auth/oidc`: signing in at an OpenID Connect issuer, where one is set."""

from __future__ import annotations

import logging
from typing import Final

from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from contracts.problems import ProblemError
from control_plane.auth import unauthenticated
from control_plane.entrance import Entrance
from control_plane.oidc import (
    START_TTL_S,
    OidcRefused,
    Subject,
    authorization_url,
    code_of,
    new_start,
    seal,
    unseal,
)
from control_plane.oidc_provider import OidcProvider
from control_plane.plane import Plane
from control_plane.routes.caller import scheme_of
from control_plane.routes.cookies import set_login, set_session
from control_plane.routes.pages import for_browsers
from control_plane.store.audit import Entry, note
from control_plane.store.enrolment import add_user, free_name, user_of_subject
from control_plane.web import respond

log = logging.getLogger(__name__)

_COOKIE: Final = "okome_oidc"
_PATH: Final = "/auth/oidc"
_SEAL: Final = "oidc start"


class Oidc:
    """The routes over one plane. Without a provider there is nothing to sign in at."""

    def __init__(self, plane: Plane, entrance: Entrance, provider: OidcProvider | None) -> None:
        self._plane = plane
        self._entrance = entrance
        self._provider = provider

    def routes(self) -> list[Route]:
        """All of them."""
        return [
            Route("/auth/options", self.options, methods=["GET"]),
            Route("/auth/oidc/start", for_browsers(self.start), methods=["GET"]),
            Route("/auth/oidc/callback", for_browsers(self.callback), methods=["GET"]),
        ]

    async def options(self, _: Request) -> Response:
        """What a sign-in form may offer: `oidc` is where to go for it, null without."""
        return respond({"oidc": "/auth/oidc/start" if self._provider else None})

    async def start(self, request: Request) -> Response:
        """Sends the browser to the issuer."""
        provider, plane = self._required(), self._plane
        start = new_start(plane.clock())
        metadata = await provider.metadata()
        url = authorization_url(metadata, provider.client_id, _redirect_uri(request), start)
        response = RedirectResponse(url, status_code=303, headers={"Cache-Control": "no-store"})
        _set_cookie(request, response, seal(start, plane.signer.derive(_SEAL)), START_TTL_S)
        return response

    async def callback(self, request: Request) -> Response:
        """Takes the browser back from the issuer, signed in."""
        provider, plane = self._required(), self._plane
        try:
            start = unseal(request.cookies.get(_COOKIE), plane.signer.derive(_SEAL), plane.clock())
            code = code_of(request.query_params, start, provider.issuer)
            subject = await provider.identify(code, start, _redirect_uri(request))
        except OidcRefused as refused:
            log.info("an OpenID login was refused: %s", refused.reason)
            raise self._refused() from refused
        opened = await self._entrance.open(await self._user_of(subject), None, "oidc")
        response = RedirectResponse("/", status_code=303, headers={"Cache-Control": "no-store"})
        claims = opened.claims
        set_session(request, response, plane.signer.sign(claims), claims.exp - claims.iat)
        if opened.secret is not None:
            set_login(request, response, opened.secret, opened.until - plane.clock())
        _set_cookie(request, response, "", 0)
        return response

    async def _user_of(self, subject: Subject) -> str:
        """The user's id; one that comes for the first time is made if the settings say so."""
        plane, now, tier = self._plane, self._plane.clock(), self._plane.settings.oidc_tier

        def work(connection: Connection) -> tuple[str | None, bool]:
            user_id = user_of_subject(connection, subject.key)
            if user_id is not None or not tier:
                return user_id, False
            name = free_name(connection, subject.wish)
            user_id = add_user(connection, name, tier=tier, now=now, subject=subject.key)
            detail = {"name": name, "tier": tier, "by": "oidc"}
            line = Entry(at=now, actor=user_id, action="user.add", subject=user_id, detail=detail)
            note(connection, line)
            return user_id, True

        try:
            user_id, made = await plane.database.run(work, durable=True)
        except ProblemError as problem:
            if problem.field != "tier":
                raise
            log.error("oidc_tier: there is no tier called %s", tier)
            raise ProblemError(
                "sign_in_unavailable", "New users cannot be taken in just now."
            ) from problem
        if user_id is None:
            raise self._refused()
        if made:
            await plane.reload_roster()
        return user_id

    def _required(self) -> OidcProvider:
        if self._provider is None:
            raise ProblemError("not_found", "There is no OpenID login here.")
        return self._provider

    def _refused(self) -> ProblemError:
        self._plane.metrics.logins.labels("refused").inc()
        self._plane.tally.add("nobody", "login.oidc", "unauthenticated", self._plane.clock())
        return unauthenticated()


def _redirect_uri(request: Request) -> str:
    """This very page, as the browser calls it; the issuer knows which ones are ours."""
    return f"{scheme_of(request)}://{request.headers.get('host', '')}{_PATH}/callback"


def _set_cookie(request: Request, response: Response, value: str, age_s: float) -> None:
    # Lax: the way back from the issuer is a navigation from another site.
    response.set_cookie(
        _COOKIE,
        value,
        max_age=int(age_s),
        path=_PATH,
        secure=scheme_of(request) == "https",
        httponly=True,
        samesite="lax",
    )
