"""The errors that HAProxy makes by itself, as problem details with stable codes; on the paths of
the OpenAI API in that API's shape.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from contracts.problems import OPENAI_PATHS, PROBLEM_MEDIA_TYPE, ProblemError, openai_error

# HAProxy's status -> the problem it is told as: of a request that was not understood, ...
UNREAD: Final[dict[int, ProblemError]] = {
    400: ProblemError("invalid_request", "The request cannot be read as HTTP."),
    408: ProblemError("request_timeout", "The request did not arrive in time."),
    413: ProblemError("payload_too_large", "The request is larger than the ingress takes."),
}
# ... and of one whose path is known.
UNSERVED: Final[dict[int, ProblemError]] = {
    500: ProblemError("internal", "The ingress could not handle the request."),
    502: ProblemError("broker_lost", "The broker went away before it answered; try again."),
    503: ProblemError("overloaded", "No broker can take this now; try again."),
    504: ProblemError("broker_timeout", "The broker did not answer in time."),
}

_AWAY = ProblemError(
    "control_plane_unavailable", "The control plane is away; chats that run go on.", retry_after=2
)
# Whatever goes wrong on the way to the control plane is the same to a client.
CONTROL: Final[dict[int, ProblemError]] = dict.fromkeys((502, 503, 504), _AWAY)

_NOT_FOUND = ProblemError("not_found", "Nothing is here.")

_OPENAI = "openai"
_JSON = "application/json"


def of_all() -> list[str]:
    """The `http-error` lines of the section `defaults`. Those that depend on the path find in
    variables what the lines of `shapes` have put there."""
    lines = [_error(status, _word(_encoded(p.body())), p) for status, p in UNREAD.items()]
    for status, problem in UNSERVED.items():
        told = f"%[var({_variable(status)},{_quoted(_encoded(problem.body()))})]"
        lines.append(_error(status, _word(told), problem, "lf-string"))
    return lines


def of_control() -> list[str]:
    """The `http-error` lines of the backend of the control plane."""
    return [_error(status, _word(_encoded(p.body())), p) for status, p in CONTROL.items()]


def shapes() -> list[str]:
    """Lines of the public frontend, after `txn.path` is set: which shape errors are to have."""
    statuses = " ".join(map(str, UNSERVED))
    return [
        f"acl {_OPENAI} var(txn.path) -m beg {' '.join(OPENAI_PATHS)}",
        "# What HAProxy makes up by itself is chosen by its status alone.",
        *(
            f"http-request set-var({_variable(status)}) "
            f"{_word(f'str({_quoted(_encoded(_openai(problem)))})')} if {_OPENAI}"
            for status, problem in UNSERVED.items()
        ),
        f"http-after-response set-header Content-Type {_JSON} if {{ status {statuses} }} "
        f"{{ var({_variable(503)}) -m found }} "
        f"{{ res.hdr(Content-Type) -m str {PROBLEM_MEDIA_TYPE} }}",
    ]


def http_return(problem: ProblemError, *conditions: str) -> list[str]:
    """The `http-request return` lines that answer `problem` when one of `conditions` holds;
    after `shapes`."""
    either = " or ".join(f"{_OPENAI} {condition}" for condition in conditions)
    openai = _told(_JSON, _word(_encoded(_openai(problem))), problem)
    native = _told(PROBLEM_MEDIA_TYPE, _word(_encoded(problem.body())), problem)
    begin = f"http-request return status {problem.status}"
    return [f"{begin} {openai} if {either}", f"{begin} {native} if {' or '.join(conditions)}"]


def not_found(condition: str) -> str:
    """The line that says that nothing is here."""
    native = _told(PROBLEM_MEDIA_TYPE, _word(_encoded(_NOT_FOUND.body())), _NOT_FOUND)
    return f"http-request return status {_NOT_FOUND.status} {native} if {condition}"


def _error(status: int, body: str, problem: ProblemError, kind: str = "string") -> str:
    return f"http-error status {status} {_told(PROBLEM_MEDIA_TYPE, body, problem, kind)}"


def _told(media_type: str, body: str, problem: ProblemError, kind: str = "string") -> str:
    fields = (
        f" hdr {name} {value if value.isalnum() else _word(value)}"
        for name, value in problem.headers().items()
    )
    return f"content-type {media_type} {kind} {body} hdr Cache-Control no-store{''.join(fields)}"


def _variable(status: int) -> str:
    return f"txn.told_{status}"


def _openai(problem: ProblemError) -> dict[str, Any]:
    return {"error": openai_error(problem)}


def _encoded(told: dict[str, Any]) -> str:
    return msgspec.json.encode(told).decode()


def _quoted(text: str) -> str:
    """As an argument of an expression; no text above has a backslash of its own."""
    escaped = text.replace('"', '\\"')
    return f'"{escaped}"'


def _word(text: str) -> str:
    # Single quotes are HAProxy's strong quotes; the texts above hold none.
    return f"'{text}'"
