"""A month of usage as JSON or CSV."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.problems import ProblemError
from control_plane.store.account_usage import UsedJob
from control_plane.usage_export import export_as, format_of, month_bounds
from tests.control_plane.test_allowance import unix


def job(**changes: Any) -> UsedJob:
    fields: dict[str, Any] = {
        "job_id": "n03w0-1",
        "session_id": None,
        "model": "small",
        "engine": "vllm",
        "outcome": "completed",
        "code": "stop",
        "prompt_tokens": 10,
        "completion_tokens": 5,
        "cached_tokens": 2,
        "estimated": False,
        "created_at": unix("2026-11-21T12:00:00.5"),
        "first_token_at": None,
        "ended_at": unix("2026-11-21T12:00:02"),
    }
    return UsedJob(**(fields | changes))


def whole(name: str, *pages: list[UsedJob]) -> bytes:
    export = export_as(format_of(name), "u", "2026-11")
    return b"".join([export.head(), *map(export.page, pages), export.tail()])


@pytest.mark.parametrize(
    "pages", [[[]], [[job()]], [[job()], [job()], []], [[job(), job()], [job()]]]
)
def test_json_is_one_document_however_many_pages(pages: list[list[UsedJob]]) -> None:
    found = json.loads(whole("json", *pages))
    assert (found["user_id"], found["month"]) == ("u", "2026-11")
    assert len(found["jobs"]) == sum(map(len, pages))
    for one in found["jobs"]:
        assert UsedJob(**one) == job()


def test_csv_has_a_line_of_names_and_times_for_people() -> None:
    names, row = whole("csv", [job(estimated=True)]).decode().splitlines()
    assert names == ",".join(UsedJob.__struct_fields__)
    assert row == (
        "n03w0-1,,small,vllm,completed,stop,10,5,2,true,"
        "2026-11-21T12:00:00.500+00:00,,2026-11-21T12:00:02.000+00:00"
    )


@given(st.sampled_from(["=", "+", "-", "@", "\t", "\r", "\n", "＝"]), st.text())
def test_no_cell_is_a_formula(first: str, rest: str) -> None:
    text = whole("csv", [job(model=first + rest.replace("\0", ""))]).decode()
    _, row = csv.reader(io.StringIO(text, newline=""))
    assert row[2] == "'" + first + rest.replace("\0", "")


@given(st.text().filter(lambda text: "\0" not in text))
def test_any_text_stays_in_its_cell(text: str) -> None:
    document = whole("csv", [job(model=text, session_id=text)]).decode()
    _, row = csv.reader(io.StringIO(document, newline=""))
    assert len(row) == len(UsedJob.__struct_fields__)
    assert row[2].removeprefix("'") == text.removeprefix("'")


@pytest.mark.parametrize(
    ("month", "begin", "end"),
    [("2026-11", "2026-11-01", "2026-12-01"), ("2026-12", "2026-12-01", "2027-01-01")],
)
def test_a_month_is_of_utc(month: str, begin: str, end: str) -> None:
    assert month_bounds(month) == (unix(begin), unix(end))


@pytest.mark.parametrize(
    "month",
    [
        "",
        "2026",
        "2026-13",
        "2026-00",
        "2026-1",
        "2026-11-01",
        "1969-12",
        "9999-12",
        "२०२६-११",
        "=1",
    ],
)
def test_what_is_no_month_is_told(month: str) -> None:
    with pytest.raises(ProblemError) as caught:
        month_bounds(month)
    assert (caught.value.code, caught.value.field) == ("invalid_request", "month")


def test_what_is_no_format_is_told() -> None:
    with pytest.raises(ProblemError) as caught:
        format_of("xlsx")
    assert (caught.value.code, caught.value.field) == ("invalid_request", "format")
