"""Stable error codes: one table for every plane (CONTRACT, "Codes")."""

from __future__ import annotations

from typing import Final

# code -> (HTTP status, short title). A code, once published, keeps its meaning.
HTTP_CODES: Final[dict[str, tuple[int, str]]] = {
    "invalid_json": (400, "The body is not valid JSON"),
    "invalid_request": (400, "The request is not valid"),
    "bad_cursor": (400, "The cursor is not a position in this log"),
    "context_too_long": (400, "The prompt does not fit the model's context"),
    "unauthenticated": (401, "No valid credential"),
    "model_not_allowed": (403, "This credential may not use the model"),
    "scope_missing": (403, "The credential lacks the scope"),
    "origin_not_allowed": (403, "The Origin is not this host"),
    "role_missing": (403, "The certificate lacks the role"),
    "unknown_model": (404, "No such model"),
    "unknown_job": (404, "No such job"),
    "not_found": (404, "Nothing is here"),
    "method_not_allowed": (405, "The method is not offered here"),
    "request_timeout": (408, "The request took too long to arrive"),
    "log_expired": (410, "The log of this job has expired"),
    "payload_too_large": (413, "The body is too large"),
    "unsupported_media_type": (415, "The body is not of an accepted media type"),
    "not_here": (421, "The job lives on its home broker only"),
    "idempotency_key_reused": (422, "The key was used with another body"),
    "upgrade_required": (426, "This is a WebSocket"),
    "rate_limited": (429, "Too many requests"),
    "quota_exceeded": (429, "The quota is used up"),
    "too_many_streams": (429, "Too many streams at once"),
    "internal": (500, "Something broke on our side"),
    "broker_lost": (502, "The broker went away before it answered"),
    "no_engine": (503, "No engine can take the job"),
    "overloaded": (503, "More is asked than can be done now"),
    "draining": (503, "This broker is draining"),
    "control_plane_unavailable": (503, "The control plane is away"),
    "sign_in_unavailable": (503, "Nobody can sign in this way just now"),
    "log_unavailable": (503, "The event log cannot be reached"),
    "broker_timeout": (504, "The broker did not answer in time"),
}

# Codes of the terminal event `job_error` -> may the same request succeed later?
JOB_ERRORS: Final[dict[str, bool]] = {
    "engine_unreachable": True,
    "engine_error": True,
    "engine_stalled": True,
    "engine_truncated": True,
    "context_too_long": False,
    "tool_failed": False,
    "relay_lost": True,
    "overloaded": True,
    "log_unavailable": True,
    "internal": True,
}

# `reason` of the terminal event `job_cancelled`.
CANCEL_REASONS: Final = frozenset(
    {"client", "disconnect", "deadline", "inspection", "quota", "shutdown"}
)

NOTICES: Final = frozenset(
    {
        "relay_moved",
        "engine_moved",
        "degraded_policy",
        "not_resumable",
        "limited",
        "queued",
        "redacted",
    }
)


def status_of(code: str) -> int:
    """HTTP status of a code. Raises KeyError for a code that is not in the table."""
    return HTTP_CODES[code][0]
