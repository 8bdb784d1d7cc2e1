"""What `python -m tests.observability.faults` goes by; the faults themselves take too long here."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.observability.faults.quicker import quicker, span
from tests.observability.faults.seeing import Alarms
from tests.observability.faults.table import FAULTS, Fault
from tests.observability.scenarios import FAULTS as SCENARIOS
from tests.observability.test_rules import ALERTS, STEP_S, needs_promtool, promtool, unit_test

TIMES = 10


@needs_promtool
def test_rules_with_shorter_spans_tell_the_same_of_what_happens_as_much_faster(
    tmp_path: Path,
) -> None:
    rules = tmp_path / "rules"
    rules.mkdir()
    for name, text in quicker(TIMES).items():
        (rules / name).write_text(text, encoding="utf-8")
    step_s = STEP_S // TIMES
    tests = [unit_test(scenario, step_s) for scenario in SCENARIOS]
    promtool(tmp_path, tests, 2 * step_s, rules)


def test_spans_are_written_as_prometheus_reads_them() -> None:
    assert [span(*told) for told in (("5m", 10), ("15s", 4), ("3d", 1))] == [
        "30000ms", "3750ms", "259200000ms",
    ]  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_each_fault_has_a_panel_and_alerts_of_ours(fault: Fault) -> None:
    assert fault.sight.query().expr
    assert fault.cause in fault.alerts
    assert fault.alerts <= {rule["alert"] for rule in ALERTS}
    assert any(fault.alerts <= scenario.fires for scenario in SCENARIOS)


def test_a_value_is_seen_or_not() -> None:
    slow, dead = FAULTS["engine-slow"].sight, FAULTS["broker-dead"].sight
    assert [slow.shows(value) for value in (None, 0.2, 3.0)] == [False, False, True]
    assert [dead.shows(value) for value in (None, 0.0, 1.0)] == [False, True, False]


def test_alarms_are_told_from_their_beginning_to_their_end() -> None:
    def alert(name: str, state: str = "firing") -> dict[str, object]:
        return {"labels": {"alertname": name}, "state": state}

    alarms = Alarms()
    alarms.look([alert("Watchdog"), alert("Slow", "pending")], 1.0)
    assert (alarms.fired, alarms.pending) == ({}, {"Slow"})
    alarms.look([alert("Slow"), alert("Slow")], 2.0)
    alarms.look([alert("Slow")], 3.0)
    assert (alarms.fired, alarms.ended) == ({"Slow": 2.0}, {})
    alarms.look([], 4.0)
    assert alarms.ended == {"Slow": 4.0}
    alarms.look([alert("Slow")], 5.0)
    assert (alarms.fired, alarms.ended) == ({"Slow": 2.0}, {})
