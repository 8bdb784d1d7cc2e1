"""The rules, worked out by the distribution's own promtool over what a cluster would tell."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import yaml

from observability import alerts, recording, slo
from observability.dash.runbook import PAGE, SOURCE, page
from observability.rule_files import RULES, files
from stream_broker.measures import STALL_S
from stream_broker.metrics import BrokerMetrics
from tests.observability.cluster_series import STEPS, flat, well
from tests.observability.records import QUIET, RATIOS, VALUES
from tests.observability.scenarios import BURNING, FAULTS, Scenario
from tests.support.cluster import ROOT

needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="no promtool: sudo apt-get install prometheus"
)
STEP_S = 60
RUNBOOK = "http://127.0.0.9:3000/runbook"
END = f"{STEPS * STEP_S}s"
FIRING = 'max by (alertname) (ALERTS{alertstate="firing"})'
DOCUMENTED = set(re.findall(r"^\| `(\w+)`", (ROOT / "docs/metrics.md").read_text(), re.MULTILINE))
# What programs of others tell; each was seen in an answer of the version of the distribution.
FOREIGN = {
    "ALERTS",
    "up",
    "haproxy_backend_connect_time_average_seconds",
    "haproxy_backend_queue_time_average_seconds",
    "node_filesystem_avail_bytes",
    "node_filesystem_size_bytes",
    "node_timex_offset_seconds",
    "prometheus_rule_evaluation_failures_total",
}


def rules() -> list[dict[str, Any]]:
    groups = [group for text in files().values() for group in yaml.safe_load(text)["groups"]]
    return [rule for group in groups for rule in group["rules"]]


ALERTS = [rule for rule in rules() if "alert" in rule]
RECORDS = [rule for rule in rules() if "record" in rule]


def selector(rule: dict[str, Any]) -> str:
    """A record with the labels that its rule gives it."""
    labels = ",".join(f'{name}="{value}"' for name, value in rule.get("labels", {}).items())
    return rule["record"] + (f"{{{labels}}}" if labels else "")


def expect(expr: str, samples: Iterable[str], at: str = END) -> dict[str, Any]:
    """What promtool is to find: these, each of the value 1."""
    found = [{"labels": labels, "value": 1} for labels in samples]
    return {"expr": expr, "eval_time": at, "exp_samples": found}


def unit_test(scenario: Scenario, step_s: int = STEP_S) -> dict[str, Any]:
    fires = (f'{{alertname="{name}"}}' for name in scenario.fires)
    found = expect(FIRING, fires, f"{STEPS * step_s}s")
    return as_test(scenario.name, scenario.series(), [found]) | {"interval": f"{step_s}s"}


def as_test(name: str, series: dict[str, str], expected: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "name": name,
        "interval": f"{STEP_S}s",
        "input_series": [{"series": key, "values": value} for key, value in series.items()],
        "promql_expr_test": expected,
    }


def promtool(
    directory: Path,
    tests: list[dict[str, Any]],
    evaluation_s: int = 2 * STEP_S,
    rules: Path = RULES,
) -> None:
    """Fails with what promtool says."""
    told = {
        "rule_files": [str(rules / name) for name in files()],
        "evaluation_interval": f"{evaluation_s}s",
        # Without it promtool takes them in any order: alerts before what they ask for.
        "group_eval_order": [group["name"] for group in (*recording.groups(), *alerts.groups())],
        "tests": tests,
    }
    path = directory / "test.yml"
    path.write_text(yaml.safe_dump(told), encoding="utf-8")
    done = subprocess.run(
        ["promtool", "test", "rules", str(path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_files_are_what_the_thresholds_say() -> None:
    assert {path.name: path.read_text(encoding="utf-8") for path in RULES.iterdir()} == files()


@needs_promtool
def test_promtool_finds_no_fault() -> None:
    paths = [str(RULES / name) for name in files()]
    done = subprocess.run(
        ["promtool", "check", "rules", "--lint-fatal", *paths],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@needs_promtool
def test_each_fault_fires_its_alerts_and_no_others(tmp_path: Path) -> None:
    promtool(tmp_path, [unit_test(scenario) for scenario in FAULTS])


@needs_promtool
def test_what_is_told_names_the_place_and_the_figure(tmp_path: Path) -> None:
    (slow,) = (scenario for scenario in FAULTS if scenario.name == "a slow engine")
    told = {
        "exp_labels": {
            "severity": "ticket",
            "hop": "engine",
            "engine": "http://e1",
            "model": "small",
        },
        "exp_annotations": {
            "summary": "The engine http://e1 takes long to begin an answer.",
            "description": "5 of 100 answers of small begin after 4.69s or later, from when the "
            "broker asks.",
            "runbook_url": f"{RUNBOOK}#okomeengineslow",
        },
    }
    alert = {"alertname": "OkomeEngineSlow", "eval_time": END, "exp_alerts": [told]}
    labels = {"external_labels": {slo.RUNBOOK_LABEL: RUNBOOK}}
    test = as_test("told", slow.series(), []) | {"alert_rule_test": [alert]} | labels
    promtool(tmp_path, [test])


@needs_promtool
def test_slow_burns_are_tickets_and_fast_ones_pages(tmp_path: Path) -> None:
    real = f'ALERTS{{alertstate="firing",alertname!="{slo.WATCHDOG}"}}'
    told = f"max by (alertname, severity) ({real})"
    tests = []
    for name, (series, fires) in BURNING.items():
        labels = (f'{{alertname="{alert}",severity="{severity}"}}' for alert, severity in fires)
        one = as_test(name, series, [expect(told, labels, "80h")])
        tests.append(one | {"interval": "1h"})
    promtool(tmp_path, tests, 3600)


@needs_promtool
def test_records_have_the_values_of_a_cluster_that_is_well(tmp_path: Path) -> None:
    """And none where nothing was measured."""
    expected = [
        expect(f"count(abs({RATIOS.get(of, of)} - {value:g}) > 1e-3) * 0 + 1", [])
        for of, value in VALUES.items()
    ]
    expected += [expect(f"clamp_max(count({of}), 1)", ["{}"]) for of in VALUES]
    quiet = {name: flat(1) if name.startswith("up{") else flat(0) for name in well()}
    silent = [expect(f"count({of}) * 0 + 1", []) for of in QUIET]
    promtool(tmp_path, [as_test("well", well(), expected), as_test("quiet", quiet, silent)])


def test_every_record_has_a_value_that_is_tested() -> None:
    assert {selector(rule) for rule in RECORDS} == {
        name.partition("}")[0] + "}" if "{" in name else name for name in VALUES
    }


def test_every_alert_is_seen_to_fire_and_not_to() -> None:
    fired = frozenset().union(*(scenario.fires for scenario in FAULTS))
    assert {rule["alert"] for rule in ALERTS} == fired
    both = {
        (rule["alert"], rule["labels"]["severity"])
        for rule in ALERTS
        if rule["labels"]["hop"] == "slo"
    }
    assert both == {pair for _, fires in BURNING.values() for pair in fires}


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])
def test_every_alert_says_what_it_means_and_what_to_do(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in ("page", "ticket", "info")
    assert rule["labels"]["hop"]
    notes = rule["annotations"]
    assert notes["summary"].endswith(".")
    assert len(notes["description"]) > 20
    page, _, section = notes["runbook_url"].partition("#")
    assert page == f"{{{{ $externalLabels.{slo.RUNBOOK_LABEL} }}}}"
    text = (ROOT / slo.RUNBOOK).read_text(encoding="utf-8")
    headings = re.findall(r"^### (\w+)$", text, re.MULTILINE)
    assert section in [heading.lower() for heading in headings]
    assert f'<h3 id="{section}">' in PAGE.read_text(encoding="utf-8")


def test_the_page_with_the_runbook_is_what_the_docs_say() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(SOURCE.read_text(encoding="utf-8"))


def test_every_section_of_the_runbook_is_of_an_alert() -> None:
    text = (ROOT / slo.RUNBOOK).read_text(encoding="utf-8")
    assert set(re.findall(r"^### (\w+)$", text, re.MULTILINE)) == {rule["alert"] for rule in ALERTS}


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule.get("alert") or selector(rule))
def test_every_metric_of_a_rule_is_in_the_list(rule: dict[str, Any]) -> None:
    names = set(re.findall(r"\b(?:okome_|haproxy_|node_|process_|prometheus_)\w+", rule["expr"]))
    known = DOCUMENTED | FOREIGN
    histograms = {f"{name}{part}" for name in known for part in ("_bucket", "_count", "_sum")}
    labels = {"node"}
    assert names - labels <= known | histograms
    recorded = {rule["record"] for rule in RECORDS}
    assert set(re.findall(r"\bokome:[\w:]+", rule["expr"])) <= recorded


def test_thresholds_are_bounds_of_the_buckets() -> None:
    """Between two bounds a histogram knows nothing."""
    assert slo.STALL_S == STALL_S
    metrics = BrokerMetrics()
    assert slo.STALL_S in metrics.delivered_gaps.of("m").bounds
    assert slo.TTFT_S in metrics.delivered_ttft.of("m").bounds
    assert slo.HOLD_SEEN_S in metrics.pacer_holds.of().bounds
