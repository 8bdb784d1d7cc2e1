"""The HTTP edge: bodies in, JSON out, every error a problem (RFC 9457)."""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import Any, Final, TypeVar

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match, Route

from contracts.codes import HTTP_CODES
from contracts.problems import PROBLEM_MEDIA_TYPE, ProblemError, encode_problem

T = TypeVar("T")

_PLACE: Final = re.compile(r"at `\$\.?([^`]*)`$")
_MISSING: Final = re.compile(r"required field `([^`]*)`")
_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,128}")
_CODES_BY_STATUS: Final = {404: "not_found", 405: "method_not_allowed"}


async def decode(request: Request, kind: type[T], limit: int) -> T:
    """The JSON body as `kind`; at most `limit` bytes are read.

    Raises ProblemError `unsupported_media_type`, `payload_too_large`, `invalid_json`, or
    `invalid_request` with the `field` (dotted path) that is wrong.
    """
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise ProblemError("unsupported_media_type", "Send the body as application/json.")
    return parse(await _body(request, limit), kind)


def parse(body: bytes, kind: type[T]) -> T:
    """JSON bytes as `kind`. Raises ProblemError as `decode` does."""
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError as error:
        raise _invalid(str(error)) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ProblemError("invalid_json", "The body cannot be read as JSON.") from error


def path_id(request: Request, name: str) -> str:
    """The id in the path. Raises ProblemError `not_found` for what none of ours can be."""
    text: str = request.path_params[name]
    if not _ID.fullmatch(text):
        raise ProblemError("not_found", "There is nothing of this name.")
    return text


def plain_text(text: str, field: str) -> str:
    """`text` as it is. Raises ProblemError `invalid_request` for what no database keeps."""
    if "\0" in text:
        raise ProblemError("invalid_request", f"{field} must not hold a NUL.", field=field)
    return text


def _invalid(message: str) -> ProblemError:
    """msgspec's message is `Expected `int`, got `str` - at `$.a.b``; it quotes no value of
    the body except wrong enumeration members."""
    place, missing = _PLACE.search(message), _MISSING.search(message)
    path = [match.group(1) for match in (place, missing) if match]
    detail = message.partition(" - at ")[0]
    return ProblemError("invalid_request", f"{detail}.", field=".".join(filter(None, path)) or None)


async def _body(request: Request, limit: int) -> bytes:
    declared = request.headers.get("content-length", "0")
    body = bytearray()
    if not declared.isdecimal() or int(declared) > limit:
        raise _too_large(limit)
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise _too_large(limit)
    return bytes(body)


def _too_large(limit: int) -> ProblemError:
    return ProblemError("payload_too_large", f"The body may have {limit} bytes at most.")


def respond(content: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A JSON answer that no cache keeps, unless `headers` says otherwise."""
    return Response(
        msgspec.json.encode(content),
        status_code=status,
        headers={"Cache-Control": "no-store"} | (headers or {}),
        media_type="application/json",
    )


def refuse(problem: ProblemError) -> Response:
    """The problem as an answer."""
    return Response(
        encode_problem(problem),
        status_code=problem.status,
        headers={"Cache-Control": "no-store"} | problem.headers(),
        media_type=PROBLEM_MEDIA_TYPE,
    )


async def on_problem(_: Request, error: Exception) -> Response:
    """Starlette handler for ProblemError."""
    assert isinstance(error, ProblemError)  # noqa: S101  # registered for this type only
    return refuse(error)


async def on_http_exception(request: Request, error: Exception) -> Response:
    """Starlette handler for what its router raises: 404 and 405 (with `Allow`)."""
    assert isinstance(error, HTTPException)  # noqa: S101  # registered for this type only
    code = _CODES_BY_STATUS.get(error.status_code, "internal")
    fields = dict(error.headers or {})
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        fields["Allow"] = ", ".join(sorted(_methods_of(request)))
    return refuse(ProblemError(code, HTTP_CODES[code][1] + ".", fields=fields))


def _methods_of(request: Request) -> set[str]:
    """What the path takes: a path has a route for each method, the router names the first's."""
    routes = [route for route in request.app.routes if isinstance(route, Route)]
    fitting = [route for route in routes if route.matches(request.scope)[0] is Match.PARTIAL]
    return {method for route in fitting for method in route.methods or ()}


async def on_error(_: Request, __: Exception) -> Response:
    """Starlette handler for a fault of ours; the server logs the exception, nobody is shown it."""
    return refuse(ProblemError("internal", "Something broke on our side; the log says what."))


async def on_disconnect(_: Request, __: Exception) -> Response:
    """Starlette handler for a client that left in mid-body; nobody reads this answer."""
    return Response(status_code=HTTPStatus.BAD_REQUEST)
