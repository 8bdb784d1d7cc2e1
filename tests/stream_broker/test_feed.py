from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_broker.events import Event
from stream_broker.feed import Feed, LogExpired
from stream_broker.log.base import LogUnavailable
from stream_broker.window import Window
from tests.stream_broker.building import JOB, Clock, append, complete, failed, head, token, tokens
from tests.stream_broker.parts import FaultyLog

SIZE = token(1, "t1 ").size


class Place:
    """A job's log and window, written as a relay does, and a feed of them."""

    def __init__(self, limit: int = 1 << 20, cursor: int = 0) -> None:
        self.log = FaultyLog(Clock())
        self.window = Window(limit)
        self.feed = Feed(JOB, self.window, self.log, cursor)

    async def begin(self) -> Place:
        await self.log.create(head(durability="none"))
        return self

    async def write(self, *events: Event, shown: bool = True) -> None:
        await self.log.append([append(list(events))])
        self.window.append(events)
        if shown:
            self.window.advance(events[-1].seq)


async def test_events_come_at_once_when_there_are_any() -> None:
    place = await Place().begin()
    await place.write(*tokens(1, 3))
    assert await place.feed.next(60) == tokens(1, 3)
    assert place.feed.cursor == 3


async def test_a_waiting_viewer_is_woken() -> None:
    place = await Place().begin()
    waiting = asyncio.create_task(place.feed.next(60))
    await asyncio.sleep(0)
    await place.write(*tokens(1, 1))
    assert await waiting == tokens(1, 1)


async def test_silence_ends_with_nothing() -> None:
    place = await Place().begin()
    assert await place.feed.next(0.0) == []
    assert not place.feed.ended


async def test_a_viewer_that_fell_behind_reads_the_log() -> None:
    place = await Place(limit=4 * SIZE).begin()
    await place.write(*tokens(1, 50))
    assert place.window.first > 1
    assert await place.feed.next(60) == tokens(1, 50)


async def test_the_log_is_not_shown_beyond_what_is_durable() -> None:
    place = await Place(limit=4 * SIZE).begin()
    await place.write(*tokens(1, 20))
    await place.write(*tokens(21, 30), shown=False)
    assert await place.feed.next(60) == tokens(1, 20)
    assert await place.feed.next(0.0) == []


async def test_the_end_is_told_once_all_has_been_given() -> None:
    place = await Place().begin()
    await place.write(token(1))
    assert await place.feed.next(60) == [token(1)]
    await place.write(complete(2))
    assert not place.feed.ended
    assert await place.feed.next(60) == [complete(2)]
    assert place.feed.ended
    assert await place.feed.next(60) == []


async def test_a_lost_log_is_told_after_what_was_durable() -> None:
    place = await Place().begin()
    await place.write(*tokens(1, 2))
    place.window.append(tokens(3, 3))
    place.window.abandon(failed(3))
    assert place.feed.failure is None
    assert not place.feed.ended
    assert await place.feed.next(60) == tokens(1, 2)
    assert place.feed.ended
    assert place.feed.failure == failed(3)


async def test_an_end_that_reached_the_log_after_all_is_no_failure() -> None:
    place = await Place().begin()
    await place.write(*tokens(1, 1))
    place.window.append([complete(2)])
    place.window.abandon(failed(2))
    place.window.advance(2)
    assert await place.feed.next(60) == [token(1, "t1 "), complete(2)]
    assert place.feed.ended
    assert place.feed.failure is None


async def test_an_expired_log_is_told() -> None:
    window = Window(0, 5)
    window.ended = True
    feed = Feed(JOB, window, FaultyLog(Clock()), 2)
    with pytest.raises(LogExpired):
        await feed.next(60)


async def test_a_log_that_is_away_is_told_and_the_place_kept() -> None:
    place = await Place(limit=4 * SIZE).begin()
    await place.write(*tokens(1, 50))
    place.log.away = True
    with pytest.raises(LogUnavailable):
        await place.feed.next(60)
    place.log.away = False
    assert await place.feed.next(60) == tokens(1, 50)


async def test_nobody_waits_at_a_relay_that_has_moved() -> None:
    place = await Place().begin()
    place.window.move()
    async with asyncio.timeout(5):
        assert await place.feed.next(60) == []


async def test_closing_wakes_and_gives_nothing_more() -> None:
    place = await Place().begin()
    waiting = asyncio.create_task(place.feed.next(60))
    await asyncio.sleep(0)
    place.feed.close()
    assert await waiting == []
    await place.write(*tokens(1, 1))
    assert await place.feed.next(60) == []
    assert place.window.viewers == 0


async def test_a_viewer_that_leaves_while_the_log_is_read_gets_nothing() -> None:
    place = await Place(limit=4 * SIZE).begin()
    await place.write(*tokens(1, 50))
    place.log.open.clear()
    reading = asyncio.create_task(place.feed.next(60))
    await asyncio.sleep(0)
    place.feed.close()
    place.log.open.set()
    assert await reading == []


@pytest.mark.parametrize("behind", [True, False])
async def test_a_viewer_cut_off_goes_on_where_it_was(behind: bool) -> None:
    place = await Place(limit=4 * SIZE).begin()
    if behind:
        await place.write(*tokens(1, 50))
        place.log.open.clear()
    cut = asyncio.create_task(place.feed.next(60))
    await asyncio.sleep(0)
    cut.cancel()
    with pytest.raises(asyncio.CancelledError):
        await cut
    place.log.open.set()
    if not behind:
        await place.write(*tokens(1, 50))
    assert await place.feed.next(60) == tokens(1, 50)


@given(st.lists(st.integers(1, 9), min_size=1, max_size=8), st.data())
async def test_any_cuts_and_reconnects_give_the_log_byte_for_byte(
    sizes: list[int], data: st.DataObject
) -> None:
    place = await Place(limit=6 * SIZE).begin()
    log: list[Event] = []
    got: list[Event] = []
    for size in sizes:
        events = tokens(len(log) + 1, len(log) + size)
        log += events
        await place.write(*events, shown=False)
        place.window.advance(data.draw(st.integers(0, len(log))))
        if data.draw(st.booleans()):
            place.feed.close()
            place.feed = Feed(JOB, place.window, place.log, len(got))
        if data.draw(st.booleans()):
            got += await place.feed.next(0)
            assert len(got) <= place.window.durable
    end = complete(len(log) + 1)
    log.append(end)
    await place.write(end)
    while not place.feed.ended:
        got += await place.feed.next(60)
    assert b"".join(event.block for event in got) == b"".join(event.block for event in log)
