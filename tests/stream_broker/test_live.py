from __future__ import annotations

from typing import Any

import pytest

from stream_broker.alarms import Alarms
from stream_broker.engines.deltas import Finish, Text
from stream_broker.events import Event
from stream_broker.live import LiveJob
from stream_broker.relay import Relay
from stream_broker.tenure import Tenure
from stream_broker.window import Window
from tests.stream_broker.building import JOB, NOW, TARGET, Clock, head
from tests.stream_broker.parts import ScriptedStream

BUFFER = 1000
PAUSE = 30.0


class Queue:
    """Stands in for the log's writer: keeps what is to be written."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.dropped = False

    def add(self, job: LiveJob, events: list[Event]) -> None:
        self.events += events

    def drop(self, job: LiveJob) -> None:
        self.dropped = True


class Place:
    """One live job with its engine, and the writer in the test's hands."""

    def __init__(self, tenure: Tenure | None = None) -> None:
        self.queue: Any = Queue()
        self.clock, self.monotonic = Clock(), Clock(0.0)
        self.relay = Relay(JOB, NOW, log_max=1 << 20, prompt_estimate=5)
        self.window = Window(1 << 20)
        self.live = LiveJob(
            head(),
            1,
            self.relay,
            self.window,
            self.queue,
            clock=self.clock,
            monotonic=self.monotonic,
            buffer_max=BUFFER,
            max_pause=PAUSE,
            alarms=Alarms(),
            tenure=tenure,
        )
        self.engine = ScriptedStream(TARGET, Any, self.live)
        self.live.attach(self.engine)

    def names(self) -> list[str]:
        return [event.name for event in self.queue.events]


@pytest.fixture
def place() -> Place:
    return Place()


def test_what_the_engine_says_is_shown_once_it_is_stored(place: Place) -> None:
    place.engine.say(Text("a"), Text("b"))
    assert place.window.read(0, 10_000) == []
    place.live.stored(1)
    assert place.window.read(0, 10_000) == place.queue.events[:1]
    assert place.live.state().last_seq == 1


def test_the_job_is_done_when_its_end_is_stored(place: Place) -> None:
    place.engine.say(Text("a"), Finish("stop"))
    assert place.engine.closed
    assert not place.live.done
    assert place.live.state().status == "running"
    place.live.stored(2)
    assert place.live.done
    assert place.live.state().status == "completed"
    assert place.live.state().ended_at == NOW


def test_the_engine_waits_while_the_log_does(place: Place) -> None:
    while not place.engine.paused:
        place.engine.say(Text("x" * 50))
    assert sum(event.size for event in place.queue.events) < BUFFER + 300
    place.live.stored(place.relay.last_seq // 3)
    assert place.engine.paused
    place.live.stored(place.relay.last_seq)
    assert not place.engine.paused


def test_a_log_away_for_too_long_fails_the_job(place: Place) -> None:
    place.engine.say(Text("a"))
    place.live.stored(1)
    place.engine.say(Text("b"))
    place.monotonic.now = PAUSE - 1
    place.live.log_away(0.0)
    assert place.window.failure is None
    place.monotonic.now = PAUSE
    place.live.log_away(0.0)
    place.live.log_away(0.0)
    assert place.engine.closed
    assert place.live.done
    assert place.names() == ["token", "token", "job_error"]
    assert place.window.failure is not None
    assert place.window.failure.seq == 2
    assert place.window.read(0, 10_000) == place.queue.events[:1]


@pytest.mark.parametrize("outcome", ["fenced", "missing"])
def test_a_relay_that_is_refused_stops_for_good(place: Place, outcome: Any) -> None:
    place.engine.say(Text("a"))
    place.live.refused(outcome)
    assert place.engine.closed
    assert place.live.done
    place.engine.say(Text("b"))
    place.live.cancel("disconnect")
    place.live.notice("queued", "x")
    assert place.names() == ["token"]
    assert not place.live.running


def test_a_fenced_relay_sends_its_viewers_to_the_other(place: Place) -> None:
    place.engine.say(Text("a"))
    place.live.refused("fenced")
    assert place.window.moved
    assert place.live.terminal is None


def test_a_job_whose_record_was_lost_ends_as_failed(place: Place) -> None:
    place.engine.say(Text("a"))
    place.live.refused("missing")
    assert place.window.failure is not None
    assert place.live.terminal is not None
    assert place.live.terminal.body()["code"] == "log_unavailable"
    assert place.live.terminal.body()["usage"]["completion_tokens"] == 1


def test_a_released_job_says_nothing_more(place: Place) -> None:
    place.engine.say(Text("a"))
    place.live.release()
    assert (place.engine.closed, place.window.moved, place.queue.dropped) == (True, True, True)
    place.engine.say(Text("b"), Finish("stop"))
    assert place.names() == ["token"]
    assert place.live.terminal is None


@pytest.mark.parametrize("how", ["cancelled", "released", "fenced"])
def test_an_engine_that_begins_too_late_is_closed(place: Place, how: str) -> None:
    if how == "cancelled":
        place.live.cancel("client")
    elif how == "released":
        place.live.release()
    else:
        place.live.refused("fenced")
    late = ScriptedStream(TARGET, Any, place.live)
    place.live.attach(late)
    assert late.closed


def test_commands_end_a_job_once(place: Place) -> None:
    place.live.cancel("client")
    place.live.cancel("deadline")
    place.live.fail("internal", "x")
    place.live.finish("length")
    assert place.names() == ["job_cancelled"]


async def test_timers_that_are_over_are_not_kept(place: Place) -> None:
    for _ in range(100):
        place.live.after(60.0, lambda: None).cancel()
    place.live.after(60.0, lambda: None)
    assert len(place.live._set) <= 2
    place.live.cancel("client")
    assert place.live._set == []


def test_the_record_of_a_flush_follows_its_events(place: Place) -> None:
    place.clock.now = NOW + 2
    place.engine.say(Text("a"), Text("b"), Finish("stop"))
    part = place.live.to_append(place.queue.events[:1])
    assert (part.epoch, part.first_token_at, part.ended_at) == (1, NOW + 2, None)
    assert place.live.to_append(place.queue.events).ended_at == NOW + 2


def test_a_relay_that_could_not_renew_stops_showing_until_it_has() -> None:
    place = Place(Tenure(2.0, 0.0))
    place.engine.say(Text("a"))
    place.live.stored(1)
    place.engine.say(Text("b"), Finish("stop"))
    place.monotonic.now = 2.0
    place.live.stored(2)
    place.live.stored(3)
    assert place.window.durable == 1
    assert not place.live.done
    assert place.live.state().last_seq == 1
    place.live.renewed(2.0)
    assert place.window.durable == 3
    assert place.live.done


def test_a_renewal_that_came_too_late_shows_nothing() -> None:
    place = Place(Tenure(2.0, 0.0))
    place.engine.say(Text("a"))
    place.monotonic.now = 5.0
    place.live.stored(1)
    place.live.renewed(2.9)
    assert place.window.durable == 0
    place.live.renewed(5.0)
    assert place.window.durable == 1


def test_a_relay_that_was_fenced_meanwhile_shows_nothing_more() -> None:
    place = Place(Tenure(2.0, 0.0))
    place.engine.say(Text("a"))
    place.live.refused("fenced")
    place.live.renewed(3.0)
    assert place.window.durable == 0
