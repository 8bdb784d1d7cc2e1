"""What a user is told who may not run one more job now. Pure.

Fields as in draft-ietf-httpapi-ratelimit-headers-10, the partition being the caller.
"""

from __future__ import annotations

from typing import Final

from contracts.problems import ProblemError
from control_plane.allowance import Span, Unit, ends_at

_SECONDS: Final[dict[Span, int]] = {"day": 86_400, "month": 2_592_000}


def too_many_streams(limit: int) -> ProblemError:
    """Every slot is taken."""
    return ProblemError(
        "too_many_streams",
        f"At most {limit} streams may run at once; end one, or wait for one to end.",
        fields={
            "RateLimit-Policy": f'"streams";q={limit};qu="concurrent-requests"',
            "RateLimit": '"streams";r=0',
        },
    )


def quota_exceeded(unit: Unit, span: Span, limit: int, left: int, now: float) -> ProblemError:
    """Too little is left for one more token or request; come back when the period is over."""
    wait = max(1, int(ends_at(now, span) - now) + 1)
    name = f'"{unit}-{span}"'
    return ProblemError(
        "quota_exceeded",
        f"The {unit} of this {span} ({limit}) are used up or set aside for running jobs.",
        retry_after=wait,
        fields={
            "RateLimit-Policy": f'{name};q={limit};w={_SECONDS[span]};qu="{unit}"',
            "RateLimit": f"{name};r={left};t={wait}",
        },
    )
