"""One flush after the other to one primary: what is sent, and sent again."""

from __future__ import annotations

from typing import Any

import hiredis
import pytest

from stream_broker.log.appending import LOAD, AppendEncoder
from stream_broker.log.base import LogUnavailable, Unacknowledged
from stream_broker.log.lane import Lane
from tests.stream_broker.building import JOB, KEYS, append, complete, job_id, tokens
from tests.stream_broker.log.test_appending import commands

TAG = KEYS.tags[0]


class ScriptedLink:
    """A connection that answers as it is told: a list of replies, or an exception."""

    def __init__(self, answers: list[Any]) -> None:
        self.answers = answers
        self.sent: list[list[list[bytes]]] = []
        self.closed = False

    async def call(self, payload: bytes, count: int, timeout: float) -> list[Any]:
        self.sent.append(commands(payload))
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        assert len(answer) == count
        return list(answer)

    def close(self) -> None:
        self.closed = True


class ScriptedStores:
    """Stands in for ClusterStores with one link after the other."""

    def __init__(self, acks: int, *scripts: list[Any]) -> None:
        self.acks = acks
        self.links = [ScriptedLink(script) for script in scripts]
        self.opened: list[ScriptedLink] = []
        self.set_up: list[tuple[bytes, ...]] = []
        self.suspected = 0
        self.trusted = 0

    async def link(self, tag: str, *setup: bytes) -> ScriptedLink:
        assert tag == TAG
        self.set_up.append(setup)
        self.opened.append(self.links.pop(0))
        return self.opened[-1]

    def suspect(self, _: str) -> None:
        self.suspected += 1

    def trust(self, _: str) -> None:
        self.trusted += 1


def lane(stores: ScriptedStores) -> Lane:
    return Lane(stores, TAG, AppendEncoder(KEYS, 900, 86_400))  # type: ignore[arg-type]


def words(sent: list[list[bytes]]) -> list[bytes]:
    return [command[0] for command in sent]


async def test_a_flush_is_all_appends_and_one_wait() -> None:
    stores = ScriptedStores(1, [[1, 0, -1, 1]])
    jobs = [job_id(number) for number in range(3)]
    batch = [append(tokens(1, 2, job=job), job=job) for job in jobs]
    assert await lane(stores).append(batch) == ["stored", "fenced", "missing"]
    (link,) = stores.opened
    assert words(link.sent[0]) == [b"EVALSHA"] * 3 + [b"WAIT"]
    assert stores.set_up == [(LOAD,)]
    assert (stores.suspected, stores.trusted) == (0, 1)


async def test_where_there_are_no_replicas_nobody_is_waited_for() -> None:
    stores = ScriptedStores(0, [[1]])
    await lane(stores).append([append(tokens(1, 1))])
    assert words(stores.opened[0].sent[0]) == [b"EVALSHA"]


async def test_each_append_says_how_far_the_job_was_durable_before() -> None:
    stores = ScriptedStores(1, [[1, 1], [1, 1], [1, 0], [1], [1, 1]])
    subject = lane(stores)
    await subject.append([append(tokens(1, 2))])
    await subject.append([append(tokens(3, 5))])
    third = [append(tokens(6, 6))]
    with pytest.raises(Unacknowledged):
        await subject.append(third)
    await subject.append(third)
    await subject.append([append([complete(7)])])
    said = [sent[0][11] for sent in stores.opened[0].sent if sent[0][0] == b"EVALSHA"]
    assert said == [b"0", b"2", b"5", b"6"]


async def test_one_that_was_not_acknowledged_is_asked_for_again_and_not_sent_again() -> None:
    stores = ScriptedStores(1, [[1, 0], [0], [0], [1], [1, 1]])
    subject, batch = lane(stores), [append(tokens(1, 2))]
    for _ in range(3):
        with pytest.raises(Unacknowledged):
            await subject.append(batch)
    assert await subject.append(batch) == ["stored"]
    await subject.append([append(tokens(3, 3))])
    (link,) = stores.opened
    assert [words(sent) for sent in link.sent] == [
        [b"EVALSHA", b"WAIT"], [b"WAIT"], [b"WAIT"], [b"WAIT"], [b"EVALSHA", b"WAIT"],
    ]  # fmt: skip
    assert stores.suspected == 3


async def test_on_another_connection_it_is_sent_again() -> None:
    """WAIT answers for what its own connection has written."""
    stores = ScriptedStores(1, [[1, 0], LogUnavailable("gone")], [[1, 1]])
    subject, batch = lane(stores), [append(tokens(1, 2))]
    with pytest.raises(Unacknowledged):
        await subject.append(batch)
    with pytest.raises(LogUnavailable, match="gone"):
        await subject.append(batch)
    assert await subject.append(batch) == ["stored"]
    first, second = stores.opened
    assert first.closed
    assert [words(sent) for sent in second.sent] == [[b"EVALSHA", b"WAIT"]]


@pytest.mark.parametrize(
    "replies",
    [
        [hiredis.ReplyError("MOVED 501 127.0.0.1:6379"), 0],
        [hiredis.ReplyError("READONLY You can't write against a read only replica."), 0],
        [hiredis.ReplyError("NOSCRIPT No matching script."), 1],
        [1, hiredis.ReplyError("ERR WAIT cannot be used with replica instances.")],
    ],
)
async def test_a_primary_that_is_none_any_more_is_left(replies: list[Any]) -> None:
    stores = ScriptedStores(1, [replies], [[1, 1]])
    subject, batch = lane(stores), [append(tokens(1, 2))]
    with pytest.raises(LogUnavailable):
        await subject.append(batch)
    assert stores.opened[0].closed
    assert stores.suspected == 1
    assert await subject.append(batch) == ["stored"]


async def test_an_append_that_is_never_taken_is_logged_and_holds_up_no_other(
    caplog: pytest.LogCaptureFixture,
) -> None:
    stores = ScriptedStores(1, [[hiredis.ReplyError("WRONGTYPE of the key"), 1, 1]])
    batch = [append(tokens(1, 1)), append(tokens(1, 1, job=job_id(1)), job=job_id(1))]
    assert await lane(stores).append(batch) == ["missing", "stored"]
    assert "WRONGTYPE" in caplog.text
    assert batch[0].job_id == JOB
