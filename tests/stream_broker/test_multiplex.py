from __future__ import annotations

import asyncio
import json

import pytest

from stream_broker.log.base import LogUnavailable
from stream_broker.multiplex import REPLIES_MAX, TURN_BYTES
from tests.stream_broker.building import complete, failed, job_id, token, tokens
from tests.stream_broker.sockets import Place, idle
from tests.support.eventually import eventually_async

A, B, C = job_id(1), job_id(2), job_id(3)


async def test_what_may_be_shown_is_written_in_the_same_turn() -> None:
    place = Place()
    job = await place.serve(A)
    event = token(1, job=A)
    job.window.append([event])
    job.window.advance(1)
    assert place.socket.writes == [
        [b'{"job_id":"%b","seq":1,"event":"token","data":%b}' % (A.encode(), event.data)]
    ]


async def test_a_burst_of_more_than_a_turn_is_written_without_another_move() -> None:
    place = Place()
    job = await place.serve(A)
    await job.say(*tokens(1, 500, job=A))
    await idle()
    assert place.socket.seqs(A) == list(range(1, 501))
    assert len(place.socket.writes) > 3


async def test_a_burst_that_ends_its_job_is_written_to_the_end() -> None:
    place = Place()
    job = await place.serve(A)
    await job.say(*tokens(1, 500, job=A), complete(501, job=A))
    await idle()
    assert place.socket.seqs(A) == list(range(1, 502))
    assert A not in place.multiplex
    assert job.watches == 0
    assert job.window.viewers == 0


async def test_jobs_take_turns() -> None:
    place = Place()
    place.socket.full = True
    for name in (A, B, C):
        job = await place.serve(name)
        await job.say(*tokens(1, 300, job=name))
    place.socket.take()
    await idle()
    turns = [json.loads(write[0])["job_id"] for write in place.socket.writes]
    # The turn that waited for the client had begun when there was only the first job.
    assert turns[:7] == [A, *[A, B, C] * 2]
    for write in place.socket.writes:
        assert sum(map(len, write)) < 2 * TURN_BYTES
    for name in (A, B, C):
        assert place.socket.seqs(name) == list(range(1, 301))


async def test_who_takes_nothing_is_sent_one_turn_of_one_job() -> None:
    place = Place()
    place.socket.full = True
    for name in (A, B, C):
        job = await place.serve(name)
        await job.say(*tokens(1, 300, job=name))
    place.socket.fills_at = 1
    place.socket.take()
    await idle()
    assert len(place.socket.writes) == 1


async def test_nothing_is_written_to_a_full_connection() -> None:
    place = Place()
    job = await place.serve(A)
    place.socket.full = True
    await job.say(*tokens(1, 3, job=A))
    await place.reply(1)
    await idle()
    assert place.socket.writes == []
    place.socket.take()
    await idle()
    assert [m["event"] for m in place.socket.said] == ["pong", "token", "token", "token"]


async def test_a_reply_comes_before_what_is_put_after_it() -> None:
    place = Place()
    job = await place.job(A)
    await job.say(*tokens(1, 3, job=A))
    await place.multiplex.reply(b'{"event":"created"}')
    place.multiplex.put(A, job.watch(), 0)
    await job.say(*tokens(4, 4, job=A))
    await idle()
    assert [m["event"] for m in place.socket.said] == ["created", *["token"] * 4]


async def test_a_reply_is_not_kept_waiting_by_a_long_log() -> None:
    place = Place()
    place.socket.fills_at = 1
    job = await place.serve(A)
    await job.say(*tokens(1, 300, job=A))
    await idle()
    await place.reply(1)
    place.socket.take()
    await idle()
    assert place.socket.said[-1]["event"] == "token"
    assert len(place.socket.writes) == 2
    place.socket.take()
    await idle()
    assert place.socket.said[-1]["event"] == "pong"


async def test_the_reader_waits_while_its_client_takes_no_replies() -> None:
    place = Place()
    place.socket.full = True
    for number in range(REPLIES_MAX):
        await place.reply(number)
    one_more = asyncio.create_task(place.reply(REPLIES_MAX))
    await idle()
    assert not one_more.done()
    place.socket.take()
    await one_more
    await idle()
    assert [m["n"] for m in place.socket.said] == list(range(REPLIES_MAX + 1))


async def test_a_job_is_served_from_its_cursor_on() -> None:
    place = Place()
    job = await place.job(A)
    await job.say(*tokens(1, 9, job=A))
    place.multiplex.put(A, job.watch(6), 6)
    await idle()
    assert place.socket.seqs(A) == [7, 8, 9]


async def test_what_has_left_the_window_comes_from_the_log() -> None:
    place = Place()
    place.socket.full = True
    job = await place.serve(A, limit=2000)
    await job.say(*tokens(1, 200, job=A))
    await job.say(complete(201, job=A))
    assert job.window.first > 150
    place.socket.take()
    await idle()
    assert place.socket.seqs(A) == list(range(1, 202))
    assert A not in place.multiplex


async def test_a_log_that_is_away_keeps_its_job_waiting_and_no_other() -> None:
    place = Place()
    place.socket.full = True
    behind = await place.serve(A, limit=2000)
    await behind.say(*tokens(1, 100, job=A))
    other = await place.serve(B)
    place.log.away = True
    place.socket.take()
    await idle()
    other.window.append(tokens(1, 2, job=B))
    other.window.advance(2)
    assert place.socket.seqs(A) == []
    assert place.socket.seqs(B) == [1, 2]
    place.log.away = False
    await eventually_async(lambda: place.socket.seqs(A) == list(range(1, 101)))


async def test_a_log_that_has_expired_is_told_and_its_job_let_go() -> None:
    place = Place()
    job = await place.job(A)
    job.window.last = job.window.shown = job.window.durable = job.window._before = 9
    place.multiplex.put(A, job.watch(3), 3)
    await idle()
    assert place.socket.said[0]["event"] == "error"
    assert place.socket.said[0]["job_id"] == A
    assert place.socket.said[0]["data"]["code"] == "log_expired"
    assert A not in place.multiplex
    assert job.watches == 0


async def test_a_lost_log_is_told_after_what_was_shown_and_is_not_of_the_log() -> None:
    place = Place()
    place.socket.full = True
    job = await place.serve(A)
    await job.say(*tokens(1, 2, job=A))
    job.window.abandon(failed(3, job=A))
    place.socket.take()
    await idle()
    assert [(m["event"], m.get("seq")) for m in place.socket.said] == [
        ("token", 1),
        ("token", 2),
        ("job_error", None),
    ]
    assert job.watches == 0


async def test_the_relay_that_has_moved_is_followed_from_the_cursor() -> None:
    place = Place()
    old = await place.serve(A)
    await old.say(*tokens(1, 3, job=A))
    new = place.moved(A)
    await idle()
    assert place.asked == [3]
    assert (old.watches, new.watches) == (0, 1)
    await new.say(*tokens(4, 4, job=A), complete(5, job=A))
    await idle()
    assert place.socket.seqs(A) == [1, 2, 3, 4, 5]


async def test_a_job_that_cannot_be_found_yet_is_asked_for_later_and_not_in_a_circle() -> None:
    place = Place()
    old = await place.serve(A)
    await old.say(*tokens(1, 3, job=A))
    place.faults = [LogUnavailable("away")]
    new = place.moved(A)
    await idle()
    assert place.asked == [3]
    await eventually_async(lambda: new.watches == 1)
    assert place.asked == [3, 3]


async def test_letting_go_closes_the_watch_and_writes_no_more() -> None:
    place = Place()
    job = await place.serve(A)
    place.multiplex.detach(A)
    await job.say(*tokens(1, 1, job=A))
    await idle()
    assert place.socket.writes == []
    assert (job.watches, job.window.viewers) == (0, 0)
    place.multiplex.detach(A)


async def test_closing_lets_go_of_every_job() -> None:
    place = Place()
    jobs = [await place.serve(name) for name in (A, B, C)]
    assert len(place.multiplex) == 3
    place.multiplex.close()
    assert len(place.multiplex) == 0
    assert [job.watches for job in jobs] == [0, 0, 0]


@pytest.mark.parametrize(("end", "why"), [("drain", "drained"), ("gone", "gone")])
@pytest.mark.parametrize("full", [True, False])
async def test_it_ends_when_it_is_told(end: str, why: str, full: bool) -> None:
    place = Place()
    job = await place.serve(A)
    place.socket.full = full
    await job.say(*tokens(1, 3, job=A))
    await idle()
    written = len(place.socket.writes)
    getattr(place.multiplex, end)()
    assert await place.ended() == why
    assert len(place.socket.writes) == written


async def test_the_first_reason_to_end_stands() -> None:
    place = Place()
    place.multiplex.drain()
    place.multiplex.gone()
    assert await place.ended() == "drained"
