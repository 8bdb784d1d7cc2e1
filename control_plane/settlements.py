"""What a settlement must look like before it is believed."""

from __future__ import annotations

from typing import Final

import msgspec

from contracts.grants import Settlement
from contracts.problems import ProblemError
from control_plane.conversations import is_conversation_id

_TOKENS_MAX: Final = 1 << 31
_ID_MAX: Final = 256
_TIME_MAX: Final = 253_402_300_799.0  # the end of the year 9999, the last that has a name
_COUNTS: Final = ("prompt_tokens", "completion_tokens", "cached_tokens")
_REQUIRED: Final = ("job_id", "user_id")
_OPTIONAL: Final = ("grant_id", "lease_id", "model", "engine", "node", "code")
_NAMES: Final = (*_REQUIRED, *_OPTIONAL)
_TIMES: Final = ("created_at", "first_token_at", "ended_at")


def check_settlement(settlement: Settlement) -> None:
    """Raises ProblemError `invalid_request` for a count, name or time that no job can have.

    Times are in no order: after a takeover they come from two brokers' clocks.
    """
    for name in _COUNTS:
        if not 0 <= getattr(settlement.usage, name) <= _TOKENS_MAX:
            raise _wrong(f"usage.{name}", f"must be from 0 to {_TOKENS_MAX}")
    for name in _REQUIRED:
        if not getattr(settlement, name):
            raise _wrong(name, "must not be empty")
    for name in _NAMES:
        check_name(name, getattr(settlement, name) or "")
    for name in _TIMES:
        if not 0 <= (getattr(settlement, name) or 0) <= _TIME_MAX:
            raise _wrong(name, "must be Unix seconds")


def check_name(field: str, value: str) -> None:
    """Raises ProblemError `invalid_request` for what no database keeps as a name."""
    if len(value) > _ID_MAX:
        raise _wrong(field, f"may have {_ID_MAX} characters at most")
    if "\0" in value:
        raise _wrong(field, "must not have a zero character")


def tidied(settlement: Settlement) -> Settlement:
    """Without a session id that no conversation can have: usage counts all the same."""
    session = settlement.session_id
    if session is None or is_conversation_id(session):
        return settlement
    return msgspec.structs.replace(settlement, session_id=None)


def _wrong(field: str, rule: str) -> ProblemError:
    return ProblemError("invalid_request", f"{field} {rule}.", field=field)
