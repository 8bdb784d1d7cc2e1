"""The chat page, signing a browser in, health, metrics and the API's description."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from contracts.policy import SESSION_COOKIE
from contracts.problems import ProblemError
from stream_broker.context import Context
from stream_broker.requests import check
from stream_broker.routes.answers import json_response
from stream_broker.routes.reading import read_object

PAGE = Path(__file__).parent.parent / "page"
OPENAPI = Path(__file__).parent.parent / "openapi.json"
PAGE_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; img-src 'self' data:; style-src 'self'; script-src 'self'; "
        "connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",
}


class EnterBody(msgspec.Struct):
    """A session token that was handed over outside of any URL a server sees."""

    token: str


class PageFiles(StaticFiles):
    """The page's files, asked for anew each time: modules of two versions do not mix."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        """Adds what tells browsers to revalidate and not to guess types."""
        response = super().file_response(*args, **kwargs)
        response.headers["Cache-Control"] = "no-cache"
        response.headers["X-Content-Type-Options"] = "nosniff"
        return response


def site_routes(context: Context) -> list[BaseRoute]:
    """The routes of this file."""

    async def page(_: Request) -> Response:
        return FileResponse(PAGE / "index.html", headers=PAGE_HEADERS)

    async def enter(request: Request) -> Response:
        """Turns a signed token into the session cookie; needs no control plane."""
        body = check(await read_object(request, context.settings.body_max), EnterBody)
        if await context.authenticate.identify(body.token) is None or body.token.startswith("ok_"):
            raise ProblemError("unauthenticated", "The link has expired; ask for a new one")
        response = Response(status_code=204)
        secure = request.headers.get("x-forwarded-proto", request.url.scheme) == "https"
        response.set_cookie(
            SESSION_COOKIE,
            body.token,
            max_age=int(context.settings.session_ttl),
            httponly=True,
            samesite="lax",
            secure=secure,
        )
        return response

    async def openapi(_: Request) -> Response:
        return FileResponse(OPENAPI, media_type="application/json")

    async def healthz(_: Request) -> Response:
        return json_response({"status": "ok", "node": context.node})

    async def readyz(_: Request) -> Response:
        if context.draining:
            raise ProblemError("draining", "This broker takes no new jobs")
        if not context.policy.ready:
            raise ProblemError("control_plane_unavailable", "No policy has arrived yet")
        if context.log_away():
            raise ProblemError("log_unavailable", "New jobs are better off at another home")
        return json_response({"status": "ready", "node": context.node})

    async def streamz(_: Request) -> Response:
        """404 tells the ingress to send streams elsewhere and to leave those that run."""
        status = 404 if context.draining and context.shared_log else 200
        return json_response({"node": context.node}, status)

    async def metrics(request: Request) -> Response:
        body, media = context.metrics.render(request.headers.get("accept", ""))
        return Response(body, headers={"Content-Type": media})

    return [
        Route("/", page, methods=["GET"]),
        Route("/v1/enter", enter, methods=["POST"]),
        Route("/openapi.json", openapi, methods=["GET"]),
        Route("/healthz", healthz, methods=["GET"]),
        Route("/readyz", readyz, methods=["GET"]),
        Route("/streamz", streamz, methods=["GET"]),
        Route("/metrics", metrics, methods=["GET"]),
        Mount("/static", PageFiles(directory=PAGE, check_dir=False)),
    ]
