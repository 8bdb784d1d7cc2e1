"""The page's server: `/`, its files, `/runbook`, `/api/picture`, `/healthz`. Read-only, for
everybody who may reach it: it shows sums, and neither users nor texts."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from observability.dash.gathering import MINUTES, Gathering
from observability.dash.prometheus import TIMEOUT_S, Prometheus

PAGE = Path(__file__).parent / "page"
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; img-src 'self' data:; style-src 'self'; script-src 'self'; "
        "connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",
}


class PageFiles(StaticFiles):
    """The page's files, asked for anew each time: modules of two versions do not mix."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        """Adds what tells browsers to revalidate and not to guess types."""
        response = super().file_response(*args, **kwargs)
        response.headers["Cache-Control"] = "no-cache"
        response.headers["X-Content-Type-Options"] = "nosniff"
        return response


def build_app(cluster: str, urls: Sequence[str], interval_s: int) -> Starlette:
    """The application over the Prometheus' at `urls`, the first of them first."""
    gathered: dict[str, Gathering] = {}

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        # Never through a proxy of the environment: these are addresses of our own.
        async with httpx.AsyncClient(trust_env=False, timeout=TIMEOUT_S) as http:
            gathered["it"] = Gathering(Prometheus(http, urls), interval_s, time.time)
            yield

    async def page(_: Request) -> Response:
        return FileResponse(PAGE / "index.html", headers=HEADERS)

    async def runbook(_: Request) -> Response:
        return FileResponse(PAGE / "runbook.html", headers=HEADERS)

    async def picture(request: Request) -> Response:
        wanted = request.query_params.get("minutes", "15")
        if wanted not in {str(minutes) for minutes in MINUTES}:
            problem = {"code": "invalid_request", "field": "minutes", "detail": f"One of {MINUTES}"}
            return _json(problem, 400, "application/problem+json")
        return _json(await gathered["it"].picture(int(wanted)) | {"cluster": cluster})

    async def healthz(_: Request) -> Response:
        return _json({"status": "ok"})

    return Starlette(
        routes=[
            Route("/", page, methods=["GET"]),
            Route("/runbook", runbook, methods=["GET"]),
            Route("/api/picture", picture, methods=["GET"]),
            Route("/healthz", healthz, methods=["GET"]),
            Mount("/static", PageFiles(directory=PAGE, check_dir=False)),
        ],
        lifespan=lifespan,
    )


def _json(body: object, status: int = 200, media_type: str = "application/json") -> Response:
    content = json.dumps(body, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return Response(content, status, headers=HEADERS, media_type=media_type)
