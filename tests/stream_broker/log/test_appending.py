"""The bytes of a flush, as Redis's own protocol reads them, and what its answers mean."""

from __future__ import annotations

from typing import Any

import hiredis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_broker.events import Event
from stream_broker.log import scripts
from stream_broker.log.appending import AppendEncoder, outcomes, refusals, wait
from stream_broker.log.base import Append, LogUnavailable
from stream_broker.log.keys import Keys
from stream_broker.log.resp import encode
from stream_broker.log.store import digest
from tests.stream_broker.building import JOB, KEYS, NOW, append, complete, job_id, tokens

OWN = Keys(KEYS.tags[0])


def commands(data: bytes) -> list[list[bytes]]:
    """What a Redis would read."""
    reader = hiredis.Reader()
    reader.feed(data)
    found = []
    while (command := reader.gets()) is not False:
        found.append(command)
    return found


def encoder() -> AppendEncoder:
    return AppendEncoder(KEYS, 900, 86_400)


@given(st.lists(st.binary(max_size=40), min_size=1, max_size=8))
def test_any_words_arrive_as_they_are(words: list[bytes]) -> None:
    assert commands(encode(*words) * 2) == [words, words]


def test_an_append_is_one_call_of_the_script() -> None:
    (command,) = commands(encoder().encode(append(tokens(3, 4)), 2))
    assert command[:3] == [b"EVALSHA", digest(scripts.APPEND).encode(), b"3"]
    assert command[3:6] == [OWN.job(JOB).encode(), OWN.log(JOB).encode(), OWN.relays.encode()]
    first_token_at = repr(NOW + 1).encode()
    assert command[6:14] == [
        JOB.encode(), b"1", b"900", b"86400", first_token_at, b"2", b"", b"",
    ]  # fmt: skip
    events = tokens(3, 4)
    assert command[14:] == [b"3", b"token", events[0].data, b"4", b"token", events[1].data]


def test_the_end_says_when_and_how() -> None:
    (command,) = commands(encoder().encode(append([complete(1)]), None))
    assert command[11:14] == [b"", repr(NOW + 9).encode(), b"job_complete"]


def test_what_is_kept_of_a_job_is_what_is_still_true() -> None:
    subject = encoder()
    for epoch, first in ((1, None), (1, 5.0), (2, 5.0), (2, 5.0), (1, None)):
        entry = Append(JOB, epoch, tokens(1, 1), first, None)
        assert subject.encode(entry, 0) == encoder().encode(entry, 0)
    other = append(tokens(1, 1, job=job_id(1)), job=job_id(1))
    assert subject.encode(other, 0) == encoder().encode(other, 0)


@given(st.lists(st.text(), min_size=1, max_size=5), st.integers(1, 10**9))
def test_any_text_is_carried(texts: list[str], first: int) -> None:
    events = [Event(first + n, "token", text.encode()) for n, text in enumerate(texts)]
    (command,) = commands(encoder().encode(append(events), None))
    assert command[14:] == [
        word for e in events for word in (b"%d" % e.seq, b"token", e.data)
    ]  # fmt: skip


def test_a_wait_names_its_replicas() -> None:
    assert commands(wait(2))[0][:2] == [b"WAIT", b"2"]


def test_each_answer_has_its_meaning() -> None:
    assert outcomes([1, 0, -1, -2]) == ["stored", "fenced", "missing", "missing"]


@pytest.mark.parametrize(
    "answer",
    [
        "MOVED 501 127.0.0.1:6379", "ASK 501 127.0.0.1:6379", "TRYAGAIN x", "CLUSTERDOWN x",
        "LOADING x", "OOM command not allowed", "READONLY You can't write", "NOSCRIPT x",
        "MISCONF x", "MASTERDOWN x", "NOREPLICAS x", "BUSY x",
    ],
)  # fmt: skip
def test_an_answer_that_passes_makes_the_flush_wait(answer: str) -> None:
    replies: list[Any] = [1, hiredis.ReplyError(answer)]
    with pytest.raises(LogUnavailable, match=answer.split()[0]):
        outcomes(replies)
    assert refusals(replies) == []


def test_one_that_is_never_taken_holds_up_no_other() -> None:
    replies: list[Any] = [hiredis.ReplyError("WRONGTYPE of the key"), 1]
    assert outcomes(replies) == ["missing", "stored"]
    assert refusals(replies) == ["WRONGTYPE of the key"]
