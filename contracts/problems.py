"""Errors as they travel: RFC 9457 problem details with a stable `code`."""

from __future__ import annotations

from typing import Any

import msgspec

from contracts.codes import HTTP_CODES

PROBLEM_MEDIA_TYPE = "application/problem+json"
# Paths that begin so tell errors as the OpenAI API does.
OPENAI_PATHS = ("/v1/chat/", "/v1/models", "/v1/embeddings")


class ProblemError(Exception):
    """A refusal that a client is told of.

    `code` must be in `HTTP_CODES`; `detail` is one sentence for a person; `field`
    names the offending input; `retry_after` is in whole seconds; `extra` holds
    further members of the problem object, `fields` further header fields (RateLimit).
    """

    def __init__(
        self,
        code: str,
        detail: str,
        *,
        field: str | None = None,
        retry_after: int | None = None,
        extra: dict[str, Any] | None = None,
        fields: dict[str, str] | None = None,
    ) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.status, self.title = HTTP_CODES[code]
        self.detail = detail
        self.field = field
        self.retry_after = retry_after
        self.extra = extra or {}
        self.fields = fields or {}

    def body(self) -> dict[str, Any]:
        """The problem object (RFC 9457, section 3)."""
        problem: dict[str, Any] = {
            "type": f"urn:okome:problem:{self.code}",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "code": self.code,
        }
        if self.field is not None:
            problem["field"] = self.field
        return problem | self.extra

    def headers(self) -> dict[str, str]:
        """`Retry-After` on every 429 and 503, as the contract asks; `WWW-Authenticate` on 401."""
        headers = dict(self.fields)
        if self.status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        if self.retry_after is not None:
            headers["Retry-After"] = str(self.retry_after)
        elif self.status in (429, 503):
            headers["Retry-After"] = "1"
        return headers


def encode_problem(problem: ProblemError) -> bytes:
    """The JSON body of a problem response."""
    return msgspec.json.encode(problem.body())


def openai_error(problem: ProblemError) -> dict[str, Any]:
    """The OpenAI API's error object."""
    kinds = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
    kind = "server_error" if problem.status >= 500 else "invalid_request_error"
    return {
        "message": problem.detail,
        "type": kinds.get(problem.status, kind),
        "param": problem.field,
        "code": problem.code,
    }
