"""Refusals for a browser that came by a link: a person reads them, not a program."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from html import escape
from typing import Final

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from contracts.problems import ProblemError

_PAGE: Final = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
<h1>{title}</h1>
<p>{detail}</p>
<p><a href="/">Back to the sign-in form</a></p>
</html>
"""
_HEADERS: Final = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'",
    "X-Content-Type-Options": "nosniff",
}

Endpoint = Callable[[Request], Awaitable[Response]]


def for_browsers(endpoint: Endpoint) -> Endpoint:
    """The endpoint, whose problems are small pages for who accepts `text/html`."""

    async def shown(request: Request) -> Response:
        try:
            return await endpoint(request)
        except ProblemError as problem:
            if not _reads_html(request):
                raise
            page = _PAGE.format(title=escape(problem.title), detail=escape(problem.detail))
            return HTMLResponse(page, problem.status, headers=_HEADERS | problem.headers())

    return shown


def _reads_html(request: Request) -> bool:
    accepted = request.headers.get("accept", "").lower()
    return "text/html" in (part.partition(";")[0].strip() for part in accepted.split(","))
