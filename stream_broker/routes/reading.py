"""Reading requests: bodies within bounds, cursors, heartbeats."""

from __future__ import annotations

import re
from typing import Any

from starlette.requests import ClientDisconnect, Request

from contracts.problems import ProblemError
from stream_broker.requests import decode_object, whole_number


async def read_object(request: Request, limit: int) -> dict[str, Any]:
    """The JSON object in the body.

    Raises ProblemError `unsupported_media_type`, `payload_too_large`, `invalid_json` or
    `invalid_request`.
    """
    media = request.headers.get("content-type", "application/json").partition(";")[0].strip()
    if media.lower() != "application/json" and not media.lower().endswith("+json"):
        raise ProblemError("unsupported_media_type", "Send application/json")
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise ProblemError("unsupported_media_type", "Send it without a Content-Encoding")
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > limit:
        raise _too_large(limit)
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > limit:
                raise _too_large(limit)
    except ClientDisconnect as error:
        raise ProblemError("invalid_request", "The body was cut off", field="body") from error
    return decode_object(bytes(body))


def wants_events(request: Request) -> bool:
    """Does `Accept` ask for an event stream (RFC 9110, section 12.5.1)?"""
    for asked in ",".join(request.headers.getlist("accept")).split(","):
        kind, *parameters = (part.strip().lower() for part in asked.split(";"))
        if kind == "text/event-stream":
            return not any(re.fullmatch(r"q=0(\.0*)?", one) for one in parameters)
    return False


def cursor_of(request: Request) -> int:
    """Where to go on: `Last-Event-ID`, else `cursor`, else 0. Raises ProblemError."""
    raw = request.headers.get("last-event-id") or request.query_params.get("cursor")
    if raw is None:
        return 0
    cursor = whole_number(raw)
    if cursor is None:
        raise ProblemError("bad_cursor", "Expected a whole number ≥ 0", field="cursor")
    return cursor


def heartbeat_of(request: Request, default: float) -> float:
    """The `heartbeat` parameter in seconds, 2 to 15. Raises ProblemError."""
    raw = request.query_params.get("heartbeat")
    if raw is None:
        return default
    try:
        heartbeat = float(raw)
    except ValueError:
        heartbeat = 0.0
    if not 2 <= heartbeat <= 15:
        raise ProblemError("invalid_request", "Expected 2 to 15 seconds", field="heartbeat")
    return heartbeat


def _too_large(limit: int) -> ProblemError:
    return ProblemError("payload_too_large", f"At most {limit} bytes")
