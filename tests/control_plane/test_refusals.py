"""What a user is told who may not run one more job now."""

from __future__ import annotations

from control_plane.refusals import quota_exceeded, too_many_streams
from tests.control_plane.test_allowance import unix


def test_the_refusal_of_a_stream_tells_the_limit() -> None:
    problem = too_many_streams(5)
    assert (problem.status, problem.code) == (429, "too_many_streams")
    assert problem.headers() == {
        "RateLimit-Policy": '"streams";q=5;qu="concurrent-requests"',
        "RateLimit": '"streams";r=0',
        "Retry-After": "1",
    }


def test_the_refusal_by_a_quota_tells_what_is_left_and_when_there_is_more() -> None:
    problem = quota_exceeded("tokens", "day", 1000, 7, unix("2026-11-21T23:59:00"))
    assert (problem.status, problem.code) == (429, "quota_exceeded")
    assert problem.headers() == {
        "RateLimit-Policy": '"tokens-day";q=1000;w=86400;qu="tokens"',
        "RateLimit": '"tokens-day";r=7;t=61',
        "Retry-After": "61",
    }


def test_whoever_comes_back_when_told_comes_in_the_next_period() -> None:
    for now in (unix("2026-11-30T23:59:59.999"), unix("2026-11-01")):
        wait = quota_exceeded("requests", "month", 1, 0, now).retry_after
        assert wait is not None
        assert now + wait >= unix("2026-12-01")
