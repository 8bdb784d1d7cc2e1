"""A run becomes a page and a plot, whatever failed in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from bench.figures import short
from bench.glance import glance
from bench.report import BEGIN, END, ReportError, filled, write_report
from bench.results import Results, Row, load, save
from tests.support.cluster import ROOT

NO_FAULTS = {"lost": 0, "repeated": 0, "swapped": 0, "unfinished": 0, "failed": 0, "error": None}


def streaming(us: float) -> dict[str, Any]:
    return {
        "tokens": 1000,
        "tokens_per_s": 5000.0,
        "cpu_s": {"broker": us / 1000},
        "us_per_token": us,
        "cpu_share": 0.1,
        "harness_share": 0.99,
        "latency": {"count": 2, "p50_ms": 0.1, "p99_ms": 0.2},
        "gaps": {"count": 1, "jitter_ms": 4.0},
        "peak_rss_mib": 30.0,
        **NO_FAULTS,
    }


@pytest.fixture
def results() -> Results:
    return Results(
        machine={"processor": "2 x test"},
        quick=False,
        titles={"nginx": "nginx", "okome-alone": "OKOME", "litellm": "LiteLLM", "portkey": "P"},
        versions={"nginx": "1.22"},
        skipped={"portkey": "node is not installed"},
        rows=[
            Row(round=1, peer="nginx", workload="W1", values=streaming(8.0)),
            Row(round=2, peer="nginx", workload="W1", values=streaming(12.0)),
            Row(round=1, peer="okome-alone", workload="W1", values=streaming(20.0)),
            Row(round=1, peer="litellm", workload="W1", error="it ended"),
        ],
    )


def test_the_page_has_means_ranges_ratios_and_what_failed(results: Results, tmp_path: Path) -> None:
    page = tmp_path / "performance.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n", encoding="utf-8")
    write_report(results, tmp_path)
    text = page.read_text(encoding="utf-8")
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "old" not in text
    assert "rounds 2, mean" in text
    assert "| nginx 1.22 | 10 (8–12) |" in text
    assert "| OKOME | 20 |" in text
    assert "| 2.0x |" in text
    assert "| LiteLLM | failed |" in text
    assert "- P: not run, node is not installed." in text
    assert "- W1, LiteLLM: it ended" in text
    assert "the load had its core full" in text


def test_the_plot_is_an_image_with_a_bar_for_each_row(results: Results, tmp_path: Path) -> None:
    (tmp_path / "performance.md").write_text(BEGIN + END, encoding="utf-8")
    write_report(results, tmp_path)
    plot = ElementTree.parse(tmp_path / "performance.svg")  # noqa: S314  # our own
    texts = [element.text for element in plot.iter() if element.tag.endswith("text")]
    assert texts.count("nginx") == texts.count("OKOME") == 2  # CPU time, latency
    assert "20" in texts


def test_the_page_in_docs_has_a_place_for_the_tables() -> None:
    page = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
    assert "content" in filled(page, "content")
    with pytest.raises(ReportError):
        filled("no markers", "content")


def test_results_survive_their_file(results: Results, tmp_path: Path) -> None:
    save(results, tmp_path / "results.json")
    assert load(tmp_path / "results.json") == results


def test_a_glance_names_the_figures_and_the_faults(results: Results) -> None:
    row = results.rows[0]
    row.values["unfinished"] = 3
    assert glance(row).startswith("W1 nginx: 5000 tokens/s, 8.00 us a token")
    assert glance(row).endswith("lost 0, unfinished 3")
    assert glance(results.rows[3]) == "W1 litellm: FAILED: it ended"


@pytest.mark.parametrize(
    ("number", "expected"),
    [(0.0123, "0.012"), (7.456, "7.46"), (44.44, "44.4"), (321.9, "322"), (2.5e6, "2.5 M")],
)
def test_a_figure_shows_three_digits(number: float, expected: str) -> None:
    assert short(number) == expected
