"""Every metric is documented, and two applications share nothing."""

from __future__ import annotations

from control_plane import metrics


def test_the_table_and_the_registry_name_the_same_metrics() -> None:
    assert metrics.__doc__ is not None
    documented = {
        line.split("|")[1].strip().removesuffix("_total")
        for line in metrics.__doc__.splitlines()
        if line.startswith(("| okome_", "| process_"))
    }
    assert {family.name for family in metrics.Metrics().registry.collect()} == documented


def test_every_application_has_a_registry_of_its_own() -> None:
    one, other = metrics.Metrics(), metrics.Metrics()
    one.faults.inc()
    assert b"okome_control_faults_total 1.0" in one.exposition()[0]
    assert b"okome_control_faults_total 0.0" in other.exposition()[0]
