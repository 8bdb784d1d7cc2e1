"""Dashboards: current, complete, and asking for nothing that nobody exposes."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from observability.boards.__main__ import PLACE
from observability.boards.all import boards
from observability.boards.grafana import dashboard, datasources, providers
from observability.boards.model import Board
from okome.programs import find_program
from tests.observability.exprs import asked, every, metrics
from tests.support.cluster import ROOT

BOARDS = {board.uid: board for board in boards()}
# Ours, and those of others with the names that their makers have documented.
METRICS = "".join(
    (ROOT / "docs" / name).read_text(encoding="utf-8")
    for name in ("metrics.md", "observability.md")
)
# Where one of these is what a panel shows, there is a promise or a budget.
PROMISED = re.compile(
    r"first_token_seconds|gap_seconds|hold_seconds|durable_seconds|accept_seconds|grant_seconds"
)


def test_the_checked_in_files_are_what_is_made() -> None:
    # After a change: python -m observability.boards
    found = {path.stem: path.read_text(encoding="utf-8") for path in PLACE.glob("*.json")}
    assert found == {uid: dashboard(board) for uid, board in BOARDS.items()}


def test_all_subjects_have_a_board() -> None:
    assert set(BOARDS) == {
        f"okome-{name}"
        for name in (
            "slo", "stream", "brokers", "ingress", "engines", "control", "redis", "nodes",
        )
    }  # fmt: skip


@pytest.mark.parametrize("board", BOARDS.values(), ids=BOARDS)
def test_every_panel_asks_a_question_of_its_own(board: Board) -> None:
    titles = [panel.title for panel in board.panels()]
    assert len(set(titles)) == len(titles)
    for panel in board.panels():
        assert "?" in panel.title
        assert panel.queries
        assert panel.unit
        several = len(panel.queries) > 1
        assert not several or len({query.legend for query in panel.queries}) == len(panel.queries)


@pytest.mark.parametrize("board", BOARDS.values(), ids=BOARDS)
def test_where_there_is_a_promise_there_is_a_threshold(board: Board) -> None:
    for panel in board.panels():
        promised = any(PROMISED.search(query.expr) for query in panel.queries)
        if promised and panel.unit == "s":
            assert panel.levels is not None, panel.title


@pytest.mark.parametrize("board", BOARDS.values(), ids=BOARDS)
def test_panels_do_not_cover_each_other(board: Board) -> None:
    seen: set[tuple[int, int]] = set()
    for panel in json.loads(dashboard(board))["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & seen, panel["title"]
        seen |= cells


def test_thresholds_ascend_whichever_side_is_bad() -> None:
    for board in boards():
        for panel in json.loads(dashboard(board))["panels"][1:]:
            steps = panel.get("fieldConfig", {}).get("defaults", {}).get("thresholds", {})
            values = [step["value"] for step in steps.get("steps", [])][1:]
            assert values == sorted(values), panel["title"]


def test_every_metric_is_in_the_list() -> None:
    documented = set(re.findall(r"^\| `([\w:]+)`", METRICS, re.MULTILINE))
    for board, panel, query in every():
        unknown = metrics(query.expr) - documented
        assert not unknown, f"{board.title}: {panel.title}: {unknown}"


def test_prometheus_can_read_every_query(tmp_path: Path) -> None:
    if (promtool := find_program("promtool", {})) is None:
        pytest.skip("promtool (of the package prometheus) is not installed")
    rules = [
        {"record": f"okome:panel:{i}", "expr": asked(query.expr, "1m")}
        for i, (_, _, query) in enumerate(every())
    ]
    file = tmp_path / "panels.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))

    done = subprocess.run(
        [promtool, "check", "rules", str(file)], capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stdout + done.stderr


def test_grafana_is_told_where_things_are() -> None:
    sources = yaml.safe_load(datasources("http://192.168.86.49:9090", "http://x:3100", 15))
    alone = yaml.safe_load(datasources("http://192.168.86.49:9090", None, 15))

    assert [source["uid"] for source in sources["datasources"]] == [
        "okome-prometheus",
        "okome-loki",
    ]
    assert len(alone["datasources"]) == 1
    used = {
        panel["datasource"]["uid"]
        for board in boards()
        for panel in json.loads(dashboard(board))["panels"]
        if "datasource" in panel
    }
    assert used == {source["uid"] for source in sources["datasources"]}
    (provider,) = yaml.safe_load(providers("/var/lib/okome/dashboards"))["providers"]
    assert provider["options"] == {"path": "/var/lib/okome/dashboards"}
