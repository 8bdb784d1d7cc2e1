"""Usage over HTTP, on both databases."""

from __future__ import annotations

import csv
import io

import pytest
from sqlalchemy import URL

from contracts.problems import ProblemError
from control_plane.store.database import Database
from tests.control_plane.harness import NOW, Clock, Harness

MONTH = "2027-01"


@pytest.fixture
def home(url: URL) -> URL:
    return url


async def test_usage_is_summed_per_model_and_day_and_user(control: Harness, clock: Clock) -> None:
    await control.settle(job_id="0", created_at=NOW - 40 * 86_400)
    await control.settle(job_id="1")
    await control.settle(job_id="2", outcome="cancelled", created_at=NOW - 86_400)
    await control.settle(job_id="3", model="other")
    await control.settle(job_id="4", user_id="somebody")
    usage = (await control.call("GET", "/v1/usage")).json()
    sums = {"requests": 3, "prompt_tokens": 30, "completion_tokens": 15, "cached_tokens": 6}
    other = {"requests": 1, "prompt_tokens": 10, "completion_tokens": 5, "cached_tokens": 2}
    assert usage == {
        "user_id": "local",
        "models": [{"model": "other"} | other, {"model": "small"} | sums],
        "days": [
            {"day": "2027-01-14", "requests": 1, "tokens": 15},
            {"day": "2027-01-15", "requests": 2, "tokens": 30},
        ],
    }


async def test_a_month_is_told_job_by_job(
    control: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("control_plane.routes.usage.PAGE", 2)
    # Of the same moment, before the month, and of somebody else.
    for number in range(5):
        await control.settle(job_id=f"j{number}", created_at=NOW + number // 3)
    await control.settle(job_id="before", created_at=NOW - 20 * 86_400)
    await control.settle(job_id="hers", user_id="somebody")
    answer = await control.call("GET", f"/v1/usage?month={MONTH}")
    assert answer.headers["content-type"] == "application/json"
    assert f'"okome-usage-{MONTH}.json"' in answer.headers["content-disposition"]
    body = answer.json()
    assert (body["user_id"], body["month"]) == ("local", MONTH)
    assert [job["job_id"] for job in body["jobs"]] == [f"j{number}" for number in range(5)]
    assert body["jobs"][0]["completion_tokens"] == 5
    assert "final_text" not in body["jobs"][0]

    answer = await control.call("GET", f"/v1/usage?month={MONTH}&format=csv")
    assert answer.headers["content-type"].startswith("text/csv")
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert [row["job_id"] for row in rows] == [f"j{number}" for number in range(5)]


async def test_a_month_without_jobs_is_empty(control: Harness) -> None:
    assert (await control.call("GET", "/v1/usage?month=2020-02")).json()["jobs"] == []


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("month=2026-13", "month"),
        ("month=", "month"),
        ("month=2026-11&month=2026-12", "month"),
        ("format=csv", "month"),
        ("month=2026-11&format=xlsx", "format"),
        ("month=2026-11&format=json&format=csv", "format"),
        ("month=%00", "month"),
    ],
)
async def test_a_question_that_cannot_be_is_told_where(
    control: Harness, query: str, field: str
) -> None:
    answer = await control.call("GET", f"/v1/usage?{query}")
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request")
    assert answer.json()["field"] == field


async def test_an_export_is_never_whole_when_the_store_fails_in_between(
    control: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("control_plane.routes.usage.PAGE", 2)
    for number in range(3):
        await control.settle(job_id=f"j{number}")
    real, pages = Database.read, iter([True, False])

    async def read(self: Database, work: object) -> object:
        if not next(pages):
            raise ProblemError("control_plane_unavailable", "away")
        return await real(self, work)  # type: ignore[arg-type]

    monkeypatch.setattr(Database, "read", read)
    answer = await control.call("GET", f"/v1/usage?month={MONTH}")
    assert not answer.text.endswith("]}")
