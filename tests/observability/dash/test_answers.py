"""What Prometheus answers becomes lines, names and levels; nonsense becomes one clear error."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from observability.boards.model import Query
from observability.dash.answers import POINTS, alerts, fill, series, window
from tests.observability.dash.serving import alert

SPAN = window(1_000_003.0, 5, 5)


def matrix(*values: tuple[float, str], **labels: str) -> dict[str, Any]:
    result = {"metric": labels, "values": [list(pair) for pair in values]}
    return {"resultType": "matrix", "result": [result]}


@given(st.floats(1e9, 2e9), st.sampled_from([1, 5, 15, 60, 360, 1440]), st.integers(1, 60))
def test_a_window_has_few_points_and_rates_over_four_scrapes(
    now: float, minutes: int, interval: int
) -> None:
    span = window(now, minutes, interval)
    assert (span.end - span.start) / span.step <= POINTS
    assert now - span.step < span.end <= now
    assert span.rate >= 4 * interval
    assert span.rate >= span.step


def test_grafana_s_words_are_filled_in() -> None:
    expr = 'rate(x{node=~"$node"}[$__rate_interval])'
    assert fill(expr, SPAN) == f'rate(x{{node=~".*"}}[{SPAN.rate}s])'


def test_gaps_stay_gaps_and_the_last_value_is_a_recent_one() -> None:
    data = matrix((SPAN.start, "1"), (SPAN.start + 5, "NaN"), (SPAN.start + 10, "3"), node="n")
    (line,) = series(Query("x", "{{node}} {{none}}"), data, SPAN)

    assert line.name == "n"
    assert [value for _, value in line.points[:4]] == [1.0, None, 3.0, None]
    assert len(line.points) == 61
    assert line.last == 3.0


def test_an_old_value_is_not_the_present() -> None:
    hour = window(1_000_003.0, 60, 5)
    (line,) = series(Query("x"), matrix((hour.start, "7")), hour)
    assert line.last is None


@pytest.mark.parametrize(
    "data",
    [
        None, {}, [], {"resultType": "vector", "result": []}, {"resultType": "matrix"},
        {"resultType": "matrix", "result": [{"metric": {}}]},
        {"resultType": "matrix", "result": [{"metric": {}, "values": [[1]]}]},
        {"resultType": "matrix", "result": [{"metric": {}, "values": [["x", "y"]]}]},
    ],
)  # fmt: skip
def test_nonsense_is_one_error(data: Any) -> None:
    with pytest.raises(ValueError, match=r".+"):
        series(Query("x"), data, SPAN)


def test_the_worst_alert_comes_first_and_the_dead_man_s_switch_is_none() -> None:
    listed = [
        alert("Slow", "ticket"), alert("Away", "page"), alert("Watchdog", "none"),
        alert("Soon", "page", state="pending"),
    ]  # fmt: skip

    found = alerts({"alerts": listed})

    assert [item.name for item in found] == ["Away", "Slow"]
    assert found[0].summary == "Away is so."
    assert found[0].place == "node okome-node-04"


@pytest.mark.parametrize("data", [None, {}, {"alerts": [1]}, {"alerts": [{"state": "firing"}]}])
def test_a_list_of_alerts_that_is_none(data: Any) -> None:
    with pytest.raises(ValueError, match="another form"):
        alerts(data)
