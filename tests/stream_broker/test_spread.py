from __future__ import annotations

from bisect import bisect_left

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from prometheus_client.openmetrics.exposition import generate_latest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from stream_broker.spread import MOST, OTHER, Names, Spread, Spreads

BOUNDS = (0.01, 0.1, 1)
times = st.floats(0, 10)


@given(st.lists(times))
def test_every_value_is_in_the_first_bucket_that_has_room_for_it(values: list[float]) -> None:
    spread = Spread(BOUNDS)
    for value in values:
        spread.add(value)
    expected = [0, 0, 0, 0]
    for value in values:
        expected[bisect_left(BOUNDS, value)] += 1
    assert spread.counts == expected
    assert spread.count == len(values)
    assert spread.total == sum(values)


def test_a_bound_belongs_to_its_bucket() -> None:
    spread = Spread(BOUNDS)
    spread.add(0.1)
    assert [count for _, count, _ in spread.buckets()] == [0, 1, 1, 1]


def test_a_scrape_reads_them_with_their_exemplars() -> None:
    spreads = Spreads("lateness_seconds", "How late.", BOUNDS, ("model",))
    registry = CollectorRegistry()
    registry.register(spreads)
    spreads.of("small").add(0.05)
    spreads.of("small").add(2.0, "job-1")
    spreads.of("big").add(0.5)
    (family,) = text_string_to_metric_families(generate_latest(registry).decode())
    small = [sample for sample in family.samples if sample.labels["model"] == "small"]
    assert [(s.labels["le"], s.value) for s in small[:4]] == [
        ("0.01", 0), ("0.1", 1), ("1.0", 1), ("+Inf", 2)
    ]  # fmt: skip
    assert {s.name: s.value for s in small[4:]} == {
        "lateness_seconds_count": 2,
        "lateness_seconds_sum": 2.05,
    }
    (marked,) = [sample.exemplar for sample in small if sample.exemplar]
    assert (marked.labels, marked.value) == ({"job_id": "job-1"}, 2.0)


def test_without_labels_there_is_one_from_the_beginning() -> None:
    (family,) = Spreads("lateness_seconds", "How late.", BOUNDS).collect()
    assert family.samples[-1].value == 0


def test_there_are_only_so_many_names() -> None:
    names = Names(2)
    assert [names.of(name) for name in ("a", "b", "a", "c", "d", "b")] == [
        "a", "b", "a", OTHER, OTHER, "b"
    ]  # fmt: skip


def test_a_histogram_has_only_so_many_series() -> None:
    spreads = Spreads("lateness_seconds", "How late.", BOUNDS, ("engine", "model"))
    for number in range(3 * MOST):
        spreads.of(f"e{number}", "small").add(0.05)
    (family,) = spreads.collect()
    counts = {
        sample.labels["engine"]: sample.value
        for sample in family.samples
        if sample.name.endswith("_count")
    }
    assert len(counts) == MOST + 1
    assert counts[OTHER] == 2 * MOST
    assert spreads.of("e0", "small") is not spreads.of("one more", "small")
