from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.core import Exemplar

from stream_broker.events import Event, EventEncoder
from stream_broker.measures import STALL_S, Delivery, Hearing, span
from stream_broker.spread import Spread
from tests.stream_broker.building import JOB, complete, token

BOUNDS = (0.01, 0.05, 0.5)


class Measured:
    spread: Spread

    @property
    def gaps(self) -> Spread:
        """As a scrape finds them."""
        self.spread.buckets()
        return self.spread


class Heard(Measured):
    """One call to an engine, and what was measured of it."""

    def __init__(self) -> None:
        self.spread = Spread(BOUNDS)
        self.first: list[float] = []
        self.hearing = Hearing(self.spread, JOB, lambda seconds, _: self.first.append(seconds))
        self.hearing.asked(100.0)

    def chunks(self, *times: float) -> None:
        for at in times:
            self.hearing.chunk(at)


class Delivered(Measured):
    """One viewer, and what was measured of it."""

    def __init__(self) -> None:
        self.spread = Spread(BOUNDS)
        self.firsts = 0
        self.delivery = Delivery(self.spread, JOB, self._first)

    def _first(self) -> None:
        self.firsts += 1

    def frame(self, at: float, last: Event | None = None) -> None:
        self.delivery.frame(last or token(1), at)


def other(name: str) -> Event:
    return EventEncoder(JOB).other(2, name, {})


def exemplars(spread: Spread) -> list[Exemplar]:
    return [mark for _, _, mark in spread.buckets() if mark is not None]


def test_the_first_chunk_has_a_measure_of_its_own() -> None:
    heard = Heard()
    heard.chunks(100.25, 100.27, 100.3)
    assert heard.first == [0.25]
    assert heard.gaps.counts == [0, 2, 0, 0]


def test_an_engine_that_was_told_to_wait_is_not_late() -> None:
    heard = Heard()
    heard.chunks(100.25, 100.27)
    heard.hearing.pause()
    heard.chunks(130.0, 130.02)
    assert heard.gaps.counts == [0, 2, 0, 0]
    assert heard.first == [0.25]


def test_a_stall_names_its_job() -> None:
    heard = Heard()
    heard.chunks(101.0, 101.0 + STALL_S + 0.2)
    assert heard.gaps.counts == [0, 0, 0, 1]
    (mark,) = exemplars(heard.gaps)
    assert mark.labels == {"job_id": JOB}


def test_what_is_no_stall_names_nobody() -> None:
    heard = Heard()
    heard.chunks(101.0, 101.2)
    assert exemplars(heard.gaps) == []


def test_gaps_of_a_viewer_are_between_frames_of_text() -> None:
    seen = Delivered()
    for at in (10.0, 10.02, 10.04):
        seen.frame(at)
    assert seen.firsts == 1
    assert seen.gaps.counts == [0, 2, 0, 0]


def test_a_notice_between_two_tokens_hides_no_gap() -> None:
    seen = Delivered()
    seen.frame(10.0)
    seen.frame(10.1, other("notice"))
    seen.frame(12.0)
    assert seen.gaps.counts == [0, 0, 0, 1]
    assert [mark.labels for mark in exemplars(seen.gaps)] == [{"job_id": JOB}]


def test_the_time_of_a_tool_is_not_the_streams() -> None:
    seen = Delivered()
    seen.frame(10.0)
    seen.frame(10.1, other("tool_call"))
    seen.frame(19.9, other("tool_result"))
    seen.frame(20.0)
    seen.frame(20.02)
    assert seen.gaps.counts == [0, 1, 0, 0]
    assert seen.firsts == 1


def test_what_waits_before_the_first_text_is_no_gap() -> None:
    seen = Delivered()
    seen.frame(10.0, other("notice"))
    seen.frame(30.0)
    assert seen.gaps.count == 0
    assert seen.firsts == 1


def test_a_client_that_takes_nothing_is_late_by_itself() -> None:
    seen = Delivered()
    seen.frame(10.0)
    seen.delivery.pause()
    seen.frame(20.0)
    seen.frame(20.02, complete(3))
    assert seen.gaps.count == 0


@given(st.lists(st.sampled_from([0.0, 0.004, 0.01, 0.02, 0.03, 0.05, 0.3, 0.5, 0.7, 9.0])))
def test_whatever_the_gaps_they_are_counted_as_one_by_one(gaps: list[float]) -> None:
    heard, plain = Heard(), Spread(BOUNDS)
    at = 64.0
    heard.chunks(at)
    for gap in gaps:
        before, at = at, at + gap
        heard.chunks(at)
        plain.add(at - before)
        if gap == 0.3:
            heard.hearing.fold()
    assert heard.gaps.counts == plain.counts
    assert heard.gaps.total == pytest.approx(plain.total)


def test_spans_that_no_clock_can_have_measured_are_none() -> None:
    assert span(100.0, 100.5) == 0.5
    assert span(100.5, 100.0) is None
    assert span(0.0, 1e9) is None
    assert span(float("nan"), 1.0) is None
