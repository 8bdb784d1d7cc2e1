"""What follows on a cut or a refusal: decided without a clock and without a network."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.async_api import Page

from tests.page.modules import run_module

AFTER = "return module.afterConnection(given.outcome, given.failures ?? 0, { random: () => 1 });"


def refused(status: int, wait: int | None = None, code: str = "x") -> dict[str, Any]:
    return {"kind": "refused", "status": status, "problem": {"code": code, "retryAfterMs": wait}}


@pytest.mark.parametrize(
    ("outcome", "reason"),
    [
        ({"kind": "terminal"}, "terminal"),
        (refused(204), "ended"),
        (refused(401), "signed_out"),
        (refused(403), "refused"),
        (refused(404), "gone"),
        (refused(410), "expired"),
        (refused(400, code="bad_cursor"), "expired"),
        (refused(400), "refused"),
    ],
)
async def test_what_ends_a_stream(lab: Page, outcome: dict[str, Any], reason: str) -> None:
    assert await run_module(lab, "wire/plan.js", AFTER, {"outcome": outcome}) == {"stop": reason}


@pytest.mark.parametrize("status", [200, 302, 408, 421, 425, 429, 500, 502, 503, 504])
async def test_what_is_tried_again(lab: Page, status: int) -> None:
    next_step = await run_module(lab, "wire/plan.js", AFTER, {"outcome": refused(status)})
    assert next_step == {"waitMs": 200}


async def test_retry_after_is_honoured(lab: Page) -> None:
    next_step = await run_module(
        lab, "wire/plan.js", AFTER, {"outcome": refused(503, wait=4000), "failures": 3}
    )
    assert next_step == {"waitMs": 4000}


@pytest.mark.parametrize("kind", ["clean", "silent"])
async def test_a_clean_end_and_silence_come_back_at_once_but_only_once(
    lab: Page, kind: str
) -> None:
    first = await run_module(lab, "wire/plan.js", AFTER, {"outcome": {"kind": kind}})
    second = await run_module(
        lab, "wire/plan.js", AFTER, {"outcome": {"kind": kind}, "failures": 1}
    )
    assert first == {"waitMs": 0}
    assert second == {"waitMs": 1000}


async def test_waits_grow_to_a_cap_and_are_spread(lab: Page) -> None:
    script = """
        const wait = (failures, random) => module.backoff(failures, { random: () => random });
        return [0, 1, 2, 3, 4, 5, 60].map((n) => [wait(n, 0), wait(n, 1)]);
    """
    waits = await run_module(lab, "wire/plan.js", script)
    assert waits == [
        [0, 200],
        [500, 1000],
        [1000, 2000],
        [2000, 4000],
        [4000, 8000],
        [4000, 8000],
        [4000, 8000],
    ]


@pytest.mark.parametrize(
    ("problem", "failures", "wanted"),
    [
        ({"unanswered": True, "retryable": True}, 90, 8000),
        ({"retryable": False}, 0, None),
        ({"retryable": True, "retryAfterMs": 2000}, 1, 2000),
        ({"retryable": True, "retryAfterMs": None}, 4, None),
        ({"retryable": True, "retryAfterMs": 60_000}, 0, None),
        ({"retryable": True, "retryAfterMs": 1000, "code": "quota_exceeded"}, 0, None),
    ],
)
async def test_when_a_question_is_sent_again(
    lab: Page, problem: dict[str, Any], failures: int, wanted: int | None
) -> None:
    script = "return module.resendAfter(given.problem, given.failures, { random: () => 1 });"
    assert (
        await run_module(lab, "wire/plan.js", script, {"problem": problem, "failures": failures})
        == wanted
    )


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        ("3", 3000),
        ("0", 0),
        ("Thu, 01 Jan 1970 00:01:40 GMT", 90_000),
        ("soon", None),
        (None, None),
    ],
)
async def test_retry_after_in_seconds_or_as_a_date(
    lab: Page, value: str | None, wanted: int | None
) -> None:
    assert (
        await run_module(lab, "wire/problem.js", "return module.retryAfter(given, 10_000);", value)
        == wanted
    )
