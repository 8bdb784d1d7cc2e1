from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace
from typing import Any

import pytest
from starlette.websockets import WebSocketDisconnect, WebSocketState

from stream_broker.authn import Principal
from stream_broker.connection import EXTENSION
from stream_broker.engines.deltas import Finish, Text
from stream_broker.routes.ws import JOBS_MAX, NAMES_MAX, Connection
from stream_broker.viewers import Viewers
from tests.stream_broker.building import JOB, USER, head, job_id
from tests.stream_broker.parts import Parts
from tests.stream_broker.sockets import Socket, idle


class Client:
    """A client, its WebSocket as the route sees it, and the route's task."""

    def __init__(self, parts: Parts, send_timeout: float = 60.0) -> None:
        self.codes: list[int] = []
        self.left = False
        self.socket = Socket()
        self.socket.give_up = self.codes.append  # type: ignore[attr-defined]
        self.scope = {"extensions": {EXTENSION: self.socket}}
        self.application_state = WebSocketState.CONNECTED
        self.viewers = Viewers(parts.metrics, 10)
        self._sent: asyncio.Queue[str | None] = asyncio.Queue()
        context: Any = SimpleNamespace(
            settings=SimpleNamespace(send_timeout=send_timeout),
            directory=parts.directory,
            viewers=self.viewers,
            metrics=parts.metrics,
            runner=parts.runner,
        )
        route: Any = self
        principal = Principal(USER, "free", (), "credential")
        self.task = asyncio.create_task(Connection(context, route, principal).serve())

    async def receive_text(self) -> str:
        text = await self._sent.get()
        if text is None:
            raise WebSocketDisconnect
        return text

    async def close(self, code: int) -> None:
        if self.left:
            raise WebSocketDisconnect(code=1006)
        self.codes.append(code)

    async def say(self, **members: Any) -> list[dict[str, Any]]:
        """Sends an operation. Returns all that has been said to the client so far."""
        self._sent.put_nowait(json.dumps(members))
        await idle()
        return self.socket.said

    async def leave(self) -> None:
        """The client closes its connection."""
        self._sent.put_nowait(None)
        await self.ended()

    async def ended(self) -> None:
        async with asyncio.timeout(5):
            await self.task


async def test_a_job_is_resumed_followed_and_let_go_of(parts: Parts) -> None:
    await parts.begin()
    client = Client(parts)
    await client.say(op="resume", job_id=JOB, cursor=0)
    parts.engines.streams[0].say(Text("a"), Text("b"))
    await idle()
    assert client.socket.seqs(JOB) == [1, 2]
    await client.say(op="detach", job_id=JOB)
    parts.engines.streams[0].say(Text("c"))
    await idle()
    assert client.socket.seqs(JOB) == [1, 2]
    assert parts.runner.jobs[JOB].viewers == 0
    await client.say(op="resume", job_id=JOB, cursor=1)
    assert client.socket.seqs(JOB) == [1, 2, 2, 3]
    await client.leave()
    assert parts.runner.jobs[JOB].viewers == 0
    assert client.codes == []


async def test_a_resume_at_the_end_is_told_so(parts: Parts) -> None:
    await parts.begin()
    parts.engines.streams[0].say(Text("a"), Finish("stop"))
    await parts.finished()
    client = Client(parts)
    said = await client.say(op="resume", job_id=JOB, cursor=2)
    assert said == [{"event": "ended", "job_id": JOB, "last_seq": 2}]
    await client.leave()


async def test_a_connection_carries_so_many_jobs_and_no_more(parts: Parts) -> None:
    names = [job_id(number) for number in range(JOBS_MAX + 1)]
    for name in names:
        await parts.begin(head(name, durability="none"))
    client = Client(parts)
    for name in names[:-1]:
        assert await client.say(op="resume", job_id=name, cursor=0) == []
    (refused,) = await client.say(op="resume", job_id=names[-1], cursor=0)
    assert (refused["job_id"], refused["data"]["code"]) == (names[-1], "too_many_streams")
    # What is served already takes no more room, and what is let go of makes some.
    assert len(await client.say(op="resume", job_id=names[0], cursor=0)) == 1
    await client.say(op="detach", job_id=names[0])
    assert len(await client.say(op="resume", job_id=names[-1], cursor=0)) == 1
    await client.leave()


@pytest.mark.parametrize("name", ["ref", "job_id"])
async def test_a_name_that_would_fill_the_queue_is_not_repeated(parts: Parts, name: str) -> None:
    client = Client(parts)
    (told,) = await client.say(op="ping", **{name: "x" * NAMES_MAX})
    assert told["data"]["code"] == "invalid_request"
    assert name not in told
    assert (await client.say(op="ping", **{name: "x"}))[1:] == [{"event": "pong"}]
    await client.leave()


async def test_a_drain_ends_it_by_1012(parts: Parts) -> None:
    client = Client(parts)
    await client.say(op="ping")
    client.viewers.drain()
    # It counts as a viewer until its client has answered: the process must not end before.
    async with asyncio.timeout(5):
        await client.socket.awaited.wait()
    assert client.codes == [1012]
    assert len(client.viewers) == 1
    client.socket.closed.set()
    await client.ended()
    assert len(client.viewers) == 0


async def test_who_is_gone_when_the_connection_is_ended_is_a_viewer_no_more(parts: Parts) -> None:
    """A drain would wait for it until its deadline, and its place would be taken for ever."""
    client = Client(parts)
    await client.say(op="ping")
    client.left = True
    client.viewers.drain()
    await client.ended()
    assert client.socket.aborted
    assert len(client.viewers) == 0


async def test_a_client_that_takes_nothing_is_given_up_by_4008(parts: Parts) -> None:
    await parts.begin()
    client = Client(parts, send_timeout=0.01)
    client.socket.full = True
    await client.say(op="resume", job_id=JOB, cursor=0)
    parts.engines.streams[0].say(Text("a"))
    await client.ended()
    assert client.codes == [4008]
    assert parts.metrics.viewers_closed.labels("send_timeout")._value.get() == 1
    assert parts.runner.jobs[JOB].viewers == 0
    assert len(client.viewers) == 0
