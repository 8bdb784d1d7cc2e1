"""A place in a trace, and spans that arrive at a collector as they were made."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from inventory.settings import Settings
from observability.traces import Asked, Span, asked_of, begin
from observability.tracing import exporter_of
from tests.support.collector import Collector
from tests.support.eventually import eventually

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
ENTROPY = bytes(range(24))


@pytest.mark.parametrize(
    ("header", "started", "asked"),
    [
        (f"00-{TRACE}-{PARENT}-01", "1700000000000000", Asked(TRACE, PARENT, True, 1.7e9)),
        (f"00-{TRACE}-{PARENT}-00", "", Asked(TRACE, PARENT, False, None)),
        (f"00-{'0' * 32}-{PARENT}-01", "soon", Asked()),
        (f"00-{TRACE}-{PARENT}", "-700000000000000", Asked()),
        (f"00-{TRACE.upper()}-{PARENT}-01", "17000000000000000", Asked()),
    ],
)
def test_what_headers_say(header: str, started: str, asked: Asked) -> None:
    assert asked_of(header.encode(), started.encode()) == asked


def test_a_caller_s_trace_is_gone_on_with_if_it_is_wanted() -> None:
    trace = begin(Asked(TRACE, PARENT), ENTROPY, share=0.0)
    assert trace is not None
    assert (trace.trace_id, trace.parent_id) == (TRACE, PARENT)
    assert trace.header("job") == f"00-{TRACE}-{ENTROPY[16:].hex()}-01"
    assert len({trace.id_of(name) for name in ("job", "generation", "ingress")}) == 3
    assert begin(Asked(TRACE, PARENT, sampled=False), ENTROPY, share=1.0) is None


def test_of_others_a_share_gets_one() -> None:
    assert begin(Asked(), ENTROPY, share=1.0) is not None
    assert begin(Asked(), b"\xff" * 24, share=1.0) is not None
    assert begin(Asked(), b"\x80" + ENTROPY[1:], share=0.5) is None
    assert begin(Asked(), b"\x7f" + ENTROPY[1:], share=0.5) is not None
    assert begin(Asked(), bytes(24), share=0.0) is None


@pytest.fixture
def collector() -> Iterator[Collector]:
    running = Collector()
    yield running
    running.close()


def test_spans_arrive(collector: Collector) -> None:
    telling = exporter_of(Settings(otlp_endpoint=collector.url), "okome-broker", "n3")
    assert telling is not None
    span = Span(
        name="job", trace_id=TRACE, span_id=PARENT, parent_id=None, kind="server", start=1.5,
        end=2.5, attributes={"a": 1, "b": "x"}, events={"first_token": 2.0}, error="engine_error",
    )  # fmt: skip
    telling.tell([span])
    telling.close()
    who, told = eventually(lambda: collector.of_trace(TRACE).get("job"))
    assert (who, told.span_id.hex(), told.parent_span_id) == ("okome-broker", PARENT, b"")
    assert (told.start_time_unix_nano, told.end_time_unix_nano) == (1_500_000_000, 2_500_000_000)
    assert [event.name for event in told.events] == ["first_token"]
    assert told.status.message == "engine_error"


def test_nothing_is_told_unless_it_is_wanted() -> None:
    assert exporter_of(Settings(), "okome-broker", "n3") is None


def test_a_collector_that_is_away_costs_nothing() -> None:
    telling = exporter_of(Settings(otlp_endpoint="http://127.0.0.1:1/v1/traces"), "x", "n3")
    assert telling is not None
    telling.tell([])
    telling.close()
