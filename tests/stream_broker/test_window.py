from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from stream_broker.events import Event
from stream_broker.window import WINDOW_BYTES, Room, Window
from tests.stream_broker.building import complete, failed, token, tokens

SIZE = token(1, "t1 ").size


def test_nothing_is_shown_before_it_is_durable() -> None:
    window = Window(10_000)
    window.append(tokens(1, 3))
    assert window.read(0, 10_000) == []
    window.advance(2)
    assert window.unwritten == token(3, "t3 ").size
    assert window.read(0, 10_000) == tokens(1, 2)
    assert window.read(1, 10_000) == tokens(2, 2)


@pytest.mark.parametrize("numbers", [(2,), (1, 1), (1, 3)])
def test_a_number_left_out_or_repeated_is_refused(numbers: tuple[int, ...]) -> None:
    window = Window(10_000)
    with pytest.raises(ValueError, match="after"):
        window.append([token(number) for number in numbers])


def test_the_watermark_never_goes_back_nor_beyond_the_last() -> None:
    window = Window(10_000)
    window.append(tokens(1, 3))
    window.advance(9)
    assert window.durable == 3
    window.advance(1)
    assert window.durable == 3


def test_a_cursor_that_has_left_is_sent_to_the_log() -> None:
    window = Window(4 * SIZE)
    window.append(tokens(1, 9))
    window.advance(9)
    assert window.first > 1
    assert window.read(window.first - 2, 10_000) is None
    assert window.read(window.first - 1, 10_000) == tokens(window.first, 9)


def test_what_is_not_durable_stays_however_long_it_is() -> None:
    window = Window(SIZE)
    window.append(tokens(1, 9))
    window.advance(1)
    assert window.read(0, 10_000) == tokens(1, 1)
    assert window.last == 9


def test_a_read_is_bounded_but_always_goes_on() -> None:
    window = Window(10_000)
    window.append(tokens(1, 9))
    window.advance(9)
    assert window.read(0, 1) == tokens(1, 1)
    assert window.read(0, 2 * SIZE) == tokens(1, 2)


def test_it_has_ended_once_the_terminal_event_is_durable() -> None:
    window = Window(10_000)
    window.append([token(1), complete(2)])
    window.advance(1)
    assert not window.ended
    window.advance(2)
    assert window.ended


def test_listeners_hear_of_everything_that_may_be_shown() -> None:
    window, heard = Window(10_000), []
    listener = heard.append

    def listen() -> None:
        listener(window.durable)

    window.listen(listen)
    window.append(tokens(1, 2))
    window.advance(2)
    window.move()
    window.abandon(failed(3))
    window.unlisten(listen)
    window.append(tokens(3, 3))
    window.advance(3)
    assert heard == [2, 2, 2]


def test_a_listener_may_leave_while_it_is_called() -> None:
    window = Window(10_000)

    def leave() -> None:
        window.unlisten(leave)

    window.listen(leave)
    window.listen(lambda: None)
    window.append(tokens(1, 1))
    window.advance(1)
    assert window.viewers == 1


class WindowMachine(RuleBasedStateMachine):
    """Any interleaving of appends, acknowledgements and reads."""

    def __init__(self) -> None:
        super().__init__()
        self.limit = 6 * SIZE
        self.begin = 3
        self.window = Window(self.limit, self.begin)
        self.log: list[Event] = []
        self.durable = self.begin

    @rule(count=st.integers(1, 6), length=st.integers(1, 200))
    def append(self, count: int, length: int) -> None:
        first = self.begin + len(self.log) + 1
        events = [token(seq, "x" * length) for seq in range(first, first + count)]
        self.window.append(events)
        self.log += events

    @rule(ahead=st.integers(-2, 8))
    def advance(self, ahead: int) -> None:
        last = self.begin + len(self.log)
        self.window.advance(self.durable + ahead)
        self.durable = min(last, max(self.durable, self.durable + ahead))
        unwritten = self.log[self.durable - self.begin :]
        assert self.window.unwritten == sum(event.size for event in unwritten)

    @rule(cursor=st.integers(0, 60), max_bytes=st.integers(1, 2000))
    def read(self, cursor: int, max_bytes: int) -> None:
        events = self.window.read(cursor, max_bytes)
        if events is None:
            assert cursor + 1 < self.window.first
            return
        visible = self.log[: self.durable - self.begin]
        rest = visible[max(0, cursor - self.begin) :]
        assert events == rest[: len(events)]
        assert bool(events) == bool(rest)
        assert sum(event.size for event in events[:-1]) < max_bytes

    @invariant()
    def it_is_bounded_but_for_what_is_not_durable(self) -> None:
        kept = self.log[self.window.first - self.begin - 1 : self.durable - self.begin]
        size = sum(event.size for event in kept)
        assert size <= self.limit or len(kept) <= 1
        assert self.window.durable == self.durable


TestWindowMachine = WindowMachine.TestCase


@given(st.lists(st.integers(1, 5)), st.data())
def test_a_viewer_that_keeps_up_gets_the_log_byte_for_byte(
    sizes: list[int], data: st.DataObject
) -> None:
    window, log, got = Window(1 << 20), [], b""
    for size in sizes:
        events = tokens(len(log) + 1, len(log) + size)
        log += events
        window.append(events)
        window.advance(data.draw(st.integers(0, len(log))))
        got += b"".join(event.data for event in window.read(got.count(b"job_id"), 1 << 20) or [])
    window.advance(len(log))
    got += b"".join(event.data for event in window.read(got.count(b"job_id"), 1 << 20) or [])
    assert got == b"".join(event.data for event in log)


def test_who_keeps_up_is_given_more_at_once_than_may_stay() -> None:
    window, given = Window(4 * SIZE), []
    window.listen(lambda: given.extend(window.read(len(given), 1 << 20) or []))
    window.append(tokens(1, 50))
    window.advance(50)
    assert given == tokens(1, 50)
    assert window.first > 40


def test_hardly_anything_stays_of_a_log_that_has_ended() -> None:
    window = Window(120 * SIZE)
    window.append([*tokens(1, 99), complete(100)])
    window.advance(99)
    assert window.first == 1
    window.advance(100)
    assert window.first > 80
    assert window.read(99, 1) == [complete(100)]


def test_what_leaves_takes_its_block_along() -> None:
    window, events = Window(4 * SIZE), tokens(1, 9)
    made = [event.block for event in events]
    window.append(events)
    window.advance(9)
    kept = range(window.first, 10)
    assert [event.seq for event in events if event._block is not None] == list(kept)
    assert [event.block for event in events] == made


def test_windows_keep_less_when_there_are_many() -> None:
    room = Room()
    window = Window(WINDOW_BYTES, 0, room)
    window.append(tokens(1, WINDOW_BYTES // SIZE // 2))
    window.advance(window.last)
    assert window.first == 1
    room.share(10_000)
    window.append(tokens(window.last + 1, window.last + 1))
    window.advance(window.last)
    kept = window.last - window.first + 1
    assert 1 <= kept <= (4 << 10) // SIZE
    assert window.read(window.first - 1, 1 << 20) is not None


@pytest.mark.parametrize("windows", [0, 1, 100])
def test_few_windows_keep_all_that_one_may(windows: int) -> None:
    room = Room()
    room.share(10_000)
    room.share(windows)
    assert room.each >= WINDOW_BYTES
