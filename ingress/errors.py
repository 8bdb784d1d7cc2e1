"""The errors that HAProxy makes by itself, as problem details with stable codes."""

from __future__ import annotations

import msgspec

from contracts.problems import (
    OPENAI_PATHS,
    PROBLEM_MEDIA_TYPE,
    ProblemError,
    encode_problem,
    openai_error,
)

# HAProxy's status -> the problem it is told as.
PUBLIC: dict[int, ProblemError] = {
    400: ProblemError("invalid_request", "The request cannot be read as HTTP."),
    408: ProblemError("request_timeout", "The request did not arrive in time."),
    413: ProblemError("payload_too_large", "The request is larger than the ingress takes."),
    500: ProblemError("internal", "The ingress could not handle the request."),
    502: ProblemError("broker_lost", "The broker went away before it answered; try again."),
    503: ProblemError("overloaded", "No broker can take this now; try again."),
    504: ProblemError("broker_timeout", "The broker did not answer in time."),
}

_AWAY = ProblemError(
    "control_plane_unavailable", "The control plane is away; chats that run go on.", retry_after=2
)
# Whatever goes wrong on the way to the control plane is the same to a client.
CONTROL: dict[int, ProblemError] = dict.fromkeys((502, 503, 504), _AWAY)

NOT_FOUND = ProblemError("not_found", "Nothing is here.")


def http_error(status: int, problem: ProblemError) -> str:
    """The `http-error` line that makes HAProxy's `status` carry `problem`."""
    return f"http-error status {status} {_content(problem)}"


def http_return(problem: ProblemError, condition: str) -> str:
    """The `http-request return` line that answers `problem` when `condition` holds."""
    return f"http-request return status {problem.status} {_content(problem)} if {condition}"


def nobody_there() -> str:
    """The line of a backend that answers as the OpenAI API does, on its paths, while no server
    is up. An `http-error` knows no paths."""
    problem = PUBLIC[503]
    body = msgspec.json.encode({"error": openai_error(problem)}).decode()
    told = _told("application/json", body, problem)
    paths = f"{{ var(txn.path) -m beg {' '.join(OPENAI_PATHS)} }}"
    return f"http-request return status {problem.status} {told} if {paths} {{ nbsrv eq 0 }}"


def _content(problem: ProblemError) -> str:
    return _told(PROBLEM_MEDIA_TYPE, encode_problem(problem).decode(), problem)


def _told(media_type: str, body: str, problem: ProblemError) -> str:
    # Single quotes are HAProxy's strong quotes; the texts above hold none.
    headers = "".join(f" hdr {name} {_word(value)}" for name, value in problem.headers().items())
    return f"content-type {media_type} string '{body}' hdr Cache-Control no-store{headers}"


def _word(value: str) -> str:
    return value if value.isalnum() else f"'{value}'"
