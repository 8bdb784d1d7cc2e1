"""Answers: JSON, and problems in the shape of the path's API."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from contracts.problems import (
    OPENAI_PATHS,
    PROBLEM_MEDIA_TYPE,
    ProblemError,
    encode_problem,
    openai_error,
)
from stream_broker.context import Context
from stream_broker.log.base import LogUnavailable

_LOG = logging.getLogger(__name__)
_HTTP_CODES = {404: "not_found", 405: "method_not_allowed", 413: "payload_too_large"}


def json_response(
    body: Any, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """A JSON answer that nobody caches."""
    sent = {"Cache-Control": "no-store"} | dict(headers or {})
    return Response(msgspec.json.encode(body), status, sent, "application/json")


def problem_response(problem: ProblemError, path: str, limit: int) -> Response:
    """A refusal in the shape of the path's API. `limit`: streams a user may have."""
    headers = problem.headers()
    if problem.status == 429 and "RateLimit" not in headers:
        headers |= {
            "RateLimit-Policy": f'"streams";q={limit};qu="streams"',
            "RateLimit": f'"streams";r=0;t={headers["Retry-After"]}',
        }
    if path.startswith(OPENAI_PATHS):
        return json_response({"error": openai_error(problem)}, problem.status, headers)
    return Response(encode_problem(problem), problem.status, headers, PROBLEM_MEDIA_TYPE)


def exception_handlers(context: Context) -> Mapping[Any, Any]:
    """What becomes of each exception; a fault of ours is logged and told as `internal`."""

    def answer(request: Request, problem: ProblemError) -> Response:
        context.metrics.requests_refused.labels(problem.code).inc()
        limit = context.settings.streams_per_user
        return problem_response(problem, request.url.path, limit)

    async def on_problem(request: Request, error: Exception) -> Response:
        assert isinstance(error, ProblemError)  # noqa: S101  starlette's types say less
        return answer(request, error)

    async def on_log_away(request: Request, error: Exception) -> Response:
        _LOG.warning("%s: %s", request.url.path, error)
        return answer(request, ProblemError("log_unavailable", "The event log does not answer"))

    async def on_http(request: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 500
        code = _HTTP_CODES.get(status, "internal" if status >= 500 else "invalid_request")
        # A 405 comes with `Allow`.
        fields = dict(error.headers or {}) if isinstance(error, HTTPException) else {}
        return answer(request, ProblemError(code, "Nothing here answers to that", fields=fields))

    async def on_fault(request: Request, _: Exception) -> Response:
        return answer(request, ProblemError("internal", "The fault has been logged"))

    return {
        ProblemError: on_problem,
        LogUnavailable: on_log_away,
        HTTPException: on_http,
        Exception: on_fault,
    }
