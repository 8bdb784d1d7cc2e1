from __future__ import annotations

import asyncio

import pytest

from stream_broker.alarms import Alarms
from stream_broker.events import Event
from stream_broker.pump import FRAME_BYTES, KEEP_ALIVE, Pump
from stream_broker.views.native import RETRY, NativeView
from stream_broker.window import Window
from tests.stream_broker.asgi import Connection
from tests.stream_broker.building import complete, failed, token, tokens


class Place:
    """A window, a client, and the pump between them."""

    def __init__(self, *, heartbeat: float = 60.0, send_timeout: float = 60.0) -> None:
        self.window = Window(1 << 20)
        self.connection = Connection()
        self.connection.taker = self
        self.pump = Pump(
            self.connection,
            NativeView(),
            0,
            heartbeat=heartbeat,
            send_timeout=send_timeout,
            alarms=Alarms(),
        )

    def writable(self) -> None:
        self.pump.writable_again()

    def gone(self) -> None:
        self.pump.end("gone")

    def follow(self) -> asyncio.Future[str]:
        """Follows the window. Returns why that could not go on, once it cannot."""
        why: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.pump.follow(self.window, why.set_result)
        return why

    def say(self, *events: Event) -> None:
        self.window.append(events)
        self.window.advance(self.window.last)

    @property
    def body(self) -> bytes:
        return b"".join(self.connection.frames)


def blocks(*events: Event) -> bytes:
    return RETRY + b"".join(event.block for event in events)


async def reason(why: asyncio.Future[str]) -> str:
    async with asyncio.timeout(5):
        return await why


async def test_what_may_be_shown_is_written_in_the_same_turn() -> None:
    place = Place()
    why = place.follow()
    place.say(token(1))
    assert place.body == blocks(token(1))
    place.say(complete(2))
    assert place.body == blocks(token(1), complete(2))
    assert await reason(why) == "ended"


async def test_what_one_read_brought_is_one_frame() -> None:
    place = Place()
    place.follow()
    place.say(*tokens(1, 5))
    assert place.connection.frames == [blocks(*tokens(1, 5))]
    place.pump.end("gone")


async def test_a_full_connection_is_left_alone_until_it_has_room() -> None:
    place = Place()
    place.follow()
    place.connection.fill()
    for seq in range(1, 101):
        place.say(token(seq))
    assert place.body == b""
    assert place.pump.cursor == 0
    place.connection.take()
    assert place.body == blocks(*(token(seq) for seq in range(1, 101)))
    place.pump.end("gone")


async def test_of_a_long_log_no_more_is_queued_than_the_connection_asks_for() -> None:
    place = Place()
    place.say(*tokens(1, 1000))
    place.connection.fills_at = 2
    place.follow()
    assert len(place.connection.frames) == 2
    assert all(len(frame) < 2 * FRAME_BYTES for frame in place.connection.frames)
    assert place.body == blocks(*tokens(1, place.pump.cursor))
    place.pump.end("gone")


async def test_a_viewer_whose_place_has_left_the_window_is_behind() -> None:
    place = Place()
    place.window = Window(1000)
    place.say(*tokens(1, 100))
    assert await reason(place.follow()) == "behind"
    assert place.body == b""


async def test_the_end_is_told_only_after_the_last_event() -> None:
    place = Place()
    place.connection.fill()
    why = place.follow()
    place.say(token(1), complete(2))
    assert not why.done()
    place.connection.take()
    assert await reason(why) == "ended"


async def test_a_relay_that_has_moved_is_told_after_what_was_shown() -> None:
    place = Place()
    why = place.follow()
    place.say(token(1))
    place.window.move()
    assert await reason(why) == "moved"
    assert place.body == blocks(token(1))


async def test_a_lost_log_is_told_after_what_was_shown() -> None:
    place = Place()
    place.connection.fill()
    why = place.follow()
    place.say(token(1))
    place.window.abandon(failed(2))
    assert not why.done()
    place.connection.take()
    assert await reason(why) == "failed"
    assert place.body == blocks(token(1))


@pytest.mark.parametrize("why", ["gone", "drained"])
async def test_an_ended_pump_writes_nothing_more(why: str) -> None:
    place = Place()
    told = place.follow()
    place.pump.end(why)
    place.say(token(1))
    place.pump.write(b"more")
    assert await reason(told) == why
    assert await reason(place.follow()) == why
    assert place.body == b""
    assert place.window.viewers == 0


async def test_in_silence_it_keeps_its_stream_alive() -> None:
    place = Place(heartbeat=0.005)
    place.follow()
    async with asyncio.timeout(5):
        while place.body.count(KEEP_ALIVE) < 2:
            place.connection.more.clear()
            await place.connection.more.wait()
    place.pump.end("gone")
    assert place.body == KEEP_ALIVE * place.body.count(KEEP_ALIVE)


async def test_a_client_that_takes_nothing_is_given_up() -> None:
    place = Place(send_timeout=0.01)
    why = place.follow()
    place.connection.waiting = 5000
    place.connection.fill()
    place.say(token(1))
    assert await reason(why) == "send_timeout"
    assert place.pump.cursor == 0


async def test_a_client_that_takes_a_little_is_kept() -> None:
    place = Place(send_timeout=0.02)
    why = place.follow()
    place.connection.waiting = 5000
    looks = 0

    def unsent() -> int:
        nonlocal looks
        looks += 1
        place.connection.waiting -= 1 if looks < 20 else 0
        return place.connection.waiting

    place.connection.unsent = unsent  # type: ignore[method-assign]
    place.connection.fill()
    place.say(token(1))
    assert await reason(why) == "send_timeout"
    # A look is taken four times in each timeout: all of them but the last saw progress.
    assert looks > 20


async def test_a_full_connection_gets_no_keep_alive() -> None:
    place = Place(heartbeat=0.001, send_timeout=0.05)
    why = place.follow()
    place.connection.fill()
    place.say(token(1))
    assert await reason(why) == "send_timeout"
    assert place.body == b""


async def test_catching_up_waits_for_the_client() -> None:
    place = Place()
    place.connection.fill()
    waiting = asyncio.create_task(place.pump.writable())
    await asyncio.sleep(0)
    assert not waiting.done()
    place.connection.take()
    async with asyncio.timeout(5):
        await waiting
        await place.pump.writable()
    place.connection.fill()
    waiting = asyncio.create_task(place.pump.writable())
    await asyncio.sleep(0)
    place.connection.leave()
    async with asyncio.timeout(5):
        await waiting
    assert place.pump.over == "gone"
