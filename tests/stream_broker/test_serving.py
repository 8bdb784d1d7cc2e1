from __future__ import annotations

import pytest

from contracts.problems import ProblemError
from stream_broker import serving as module
from stream_broker.engines.deltas import Finish, Text
from stream_broker.log.base import LogUnavailable
from stream_broker.pump import KEEP_ALIVE
from stream_broker.views.openai import OpenAIView
from stream_broker.watch import Watch
from tests.stream_broker.asgi import Exchange
from tests.stream_broker.building import JOB, append, complete, head
from tests.stream_broker.parts import Parts
from tests.stream_broker.viewing import Place, unavailable
from tests.support.eventually import eventually_async


@pytest.fixture
async def place(parts: Parts) -> Place:
    await parts.begin()
    return Place(parts)


async def test_a_stream_from_its_head_to_its_clean_end(place: Place) -> None:
    client = await place.open()
    place.say(Text("a"), Finish("stop"))
    await client.ended()
    start = client.sent[0]
    headers = dict(start["headers"])
    assert start["status"] == 200
    assert headers[b"content-type"] == b"text/event-stream; charset=utf-8"
    assert headers[b"cache-control"] == b"no-cache, no-transform"
    assert headers[b"x-okome-node"] == b"node-3"
    assert b"content-length" not in headers
    assert client.body.startswith(b"retry: 1000\nid: 1\nevent: token\n")
    assert client.body.count(b"\n\n") == 2
    assert client.clean
    assert place.closed("ended") == 1
    assert len(place.viewers) == 0


async def test_every_write_ends_with_a_whole_block(place: Place) -> None:
    client = await place.open()
    for text in "abc":
        place.say(Text(text))
        await client.until(b'"token":"' + text.encode())
    place.say(Finish("stop"))
    await client.ended()
    assert all(frame.endswith(b"\n\n") for frame in client.connection.frames)


async def test_a_stream_goes_on_after_its_cursor(place: Place) -> None:
    first = await place.open()
    place.say(Text("a"), Text("b"))
    await first.until(b'"b"')
    second = await place.open(cursor=1)
    place.say(Finish("stop"))
    await second.ended()
    await first.ended()
    assert second.body.removeprefix(b"retry: 1000\n") == first.body.partition(b"\n\n")[2]


async def test_in_silence_a_comment_of_one_line_keeps_it_alive(place: Place) -> None:
    client = await place.open(heartbeat=0.005)
    await client.until(KEEP_ALIVE * 2)
    assert KEEP_ALIVE == b": keep-alive\n"
    assert client.body == KEEP_ALIVE * client.body.count(KEEP_ALIVE)
    client.leave()
    await client.ended()


async def test_a_client_that_leaves_is_let_go(place: Place) -> None:
    client = await place.open()
    place.say(Text("a"))
    await client.until(b'"a"')
    client.leave()
    await client.ended()
    assert not client.clean
    assert place.closed("gone") == 1
    assert place.parts.runner.jobs[JOB].viewers == 0


async def test_a_client_that_takes_nothing_is_dropped(place: Place) -> None:
    client = await place.open(send_timeout=0.01)
    client.takes.clear()
    client.connection.fill()
    await client.ended()
    assert client.aborted
    assert place.closed("send_timeout") == 1
    assert place.parts.runner.jobs[JOB].viewers == 0


async def test_a_slow_client_takes_the_end_at_its_own_pace(place: Place) -> None:
    client = await place.open(send_timeout=0.02)
    unsent = iter(range(5000, 0, -1))
    client.connection.unsent = lambda: next(unsent)  # type: ignore[method-assign]
    client.connection.fills_at = 1
    place.say(Text("a"), Finish("stop"))
    await eventually_async(lambda: next(unsent) < 4950)
    assert not client.clean
    client.connection.take()
    await client.ended()
    assert client.clean
    assert place.closed("ended") == 1


async def test_a_client_that_never_takes_the_end_is_dropped(place: Place) -> None:
    client = await place.open(send_timeout=0.02)
    client.connection.fills_at = 1
    place.say(Text("a"), Finish("stop"))
    await client.ended()
    assert client.aborted
    assert place.closed("send_timeout") == 1


@pytest.mark.parametrize("resumable", [True, False])
async def test_a_drain_ends_those_who_can_come_back(place: Place, resumable: bool) -> None:
    client = await place.open(resumable=resumable)
    place.say(Text("a"))
    await client.until(b'"a"')
    place.viewers.drain()
    if not resumable:
        place.say(Finish("stop"))
    await client.ended()
    assert client.clean
    assert (b"job_complete" in client.body) is not resumable


async def test_a_head_request_has_no_body(place: Place) -> None:
    client = await place.open(method="HEAD")
    await client.ended()
    assert client.body == b""
    assert place.parts.runner.jobs[JOB].viewers == 0


async def test_a_lost_log_is_told_after_what_was_durable(place: Place) -> None:
    client = await place.open()
    place.say(Text("a"))
    await client.until(b'"a"')
    place.parts.log.refuses = "missing"
    place.say(Text("b"))
    await client.ended()
    assert b"event: job_error\n" in client.body
    assert b"id: 2" not in client.body
    assert client.clean


async def test_an_openai_stream_whose_log_was_lost_has_no_clean_end(place: Place) -> None:
    client = await place.open(view=OpenAIView(head(), 0), resumable=False)
    place.parts.log.refuses = "missing"
    place.say(Text("b"), Finish("stop"))
    await client.ended()
    assert b'"error":{' in client.body
    assert b"[DONE]" not in client.body


async def test_a_stream_looks_for_its_job_where_it_went(place: Place) -> None:
    asked: list[int] = []

    async def find(cursor: int) -> Watch:
        asked.append(cursor)
        await place.parts.log.append([append([complete(2)])])
        del place.parts.runner.jobs[JOB]
        return await place.parts.watch(cursor)

    client = await place.open(find=find)
    place.say(Text("a"))
    await client.until(b'"a"')
    place.parts.runner.jobs[JOB].release()
    await client.ended()
    assert asked == [1]
    assert b"job_complete" in client.body


async def test_a_viewer_of_a_relay_that_gave_up_lets_others_have_their_turn(
    place: Place,
) -> None:
    client = await place.open()
    place.say(Text("a"))
    await client.until(b'"a"')
    place.parts.runner.jobs[JOB].release()
    await client.ended()
    assert client.clean


# The log away.


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LOG_RETRY_S", 0.0)
    monkeypatch.setattr(module, "LOG_PATIENCE_S", 0.05)


@pytest.mark.usefixtures("impatient")
async def test_a_log_that_stays_away_ends_a_stream_cleanly(place: Place) -> None:
    client = await place.open(away=True, find=unavailable)
    await client.ended()
    assert (client.clean, client.body) == (True, b"")
    assert place.closed("log_away") == 1


@pytest.mark.usefixtures("impatient")
async def test_who_cannot_come_back_is_told_that_the_log_is_away(place: Place) -> None:
    view = OpenAIView(head(), 0)
    client = await place.open(away=True, find=unavailable, view=view, resumable=False)
    await client.ended()
    assert b'"error":{' in client.body


@pytest.mark.usefixtures("impatient")
async def test_a_log_that_comes_back_goes_on(place: Place) -> None:
    answers = [LogUnavailable("away"), LogUnavailable("away")]

    async def find(cursor: int) -> Watch:
        if answers:
            raise answers.pop()
        return await place.parts.watch(cursor)

    client = await place.open(away=True, find=find)
    place.say(Text("a"), Finish("stop"))
    await client.ended()
    assert client.body.count(b"id: ") == 2


async def test_a_job_that_is_gone_ends_its_stream(place: Place) -> None:
    async def find(_: int) -> Watch:
        raise ProblemError("unknown_job", "x")

    client = await place.open(away=True, find=find)
    await client.ended()
    assert place.closed("lost") == 1


async def test_a_client_that_leaves_while_its_job_is_looked_for(place: Place) -> None:
    clients: list[Exchange] = []

    async def find(cursor: int) -> Watch:
        clients[0].leave()
        await module.asyncio.sleep(0)
        await module.asyncio.sleep(0)
        return await place.parts.watch(cursor)

    clients.append(await place.open(away=True, find=find))
    await clients[0].ended()
    assert place.closed("gone") == 1
    assert place.parts.runner.jobs[JOB].viewers == 0
