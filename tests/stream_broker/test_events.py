from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_broker.events import TERMINAL, Event, EventEncoder, token_json
from tests.stream_broker.building import JOB, NOW, complete, token

texts = st.text(st.characters(exclude_categories=["Cs"]))


@given(st.integers(1, 10**9), texts, st.sampled_from(["token", "reasoning"]))
def test_a_text_event_is_one_line_of_json(seq: int, text: str, name: str) -> None:
    event = EventEncoder(JOB).text(seq, name, text, NOW)
    assert json.loads(event.data) == {"job_id": JOB, "seq": seq, name: text, "ts": NOW}
    assert len(event.data.splitlines()) == 1


def test_times_keep_their_microseconds() -> None:
    assert token(1, ts=1_800_000_000.123456).body()["ts"] == 1_800_000_000.123456


def test_another_event_begins_with_job_and_number() -> None:
    event = EventEncoder(JOB).other(7, "notice", {"code": "queued", "message": "line\nbreak"})
    assert list(event.body()) == ["job_id", "seq", "code", "message"]
    assert b"\n" not in event.data


def test_an_event_without_members_is_an_object_all_the_same() -> None:
    assert EventEncoder(JOB).other(7, "notice", {}).body() == {"job_id": JOB, "seq": 7}


def test_a_block_is_id_event_data_and_a_blank_line() -> None:
    event = Event(3, "token", b'{"a":1}')
    assert event.block == b'id: 3\nevent: token\ndata: {"a":1}\n\n'


def test_a_block_is_made_once() -> None:
    event = token(1)
    assert event.block is event.block


@pytest.mark.parametrize("name", sorted(TERMINAL))
def test_three_names_end_a_job(name: str) -> None:
    assert Event(1, name, b"{}").terminal


@pytest.mark.parametrize("name", ["token", "reasoning", "tool_call", "tool_result", "notice"])
def test_no_other_name_ends_a_job(name: str) -> None:
    assert not Event(1, name, b"{}").terminal


def test_events_are_equal_by_number_name_and_data() -> None:
    assert token(1) == token(1)
    assert hash(token(1)) == hash(token(1))
    assert token(1) != token(2)
    assert token(1) != object()


def test_the_size_covers_the_data_and_its_frame() -> None:
    assert token(1).size > len(token(1).data)
    assert "job_complete" in repr(complete(2))


@given(st.integers(1, 10**9), texts)
def test_the_text_of_a_token_can_be_taken_as_it_stands(seq: int, text: str) -> None:
    event = EventEncoder(JOB).text(seq, "token", text, NOW)
    assert json.loads(token_json(event)) == text


@pytest.mark.parametrize("text", ['"token":', ',"ts":', '","ts":1}', '\\"token":"'])
def test_a_text_that_looks_like_its_frame_is_no_trap(text: str) -> None:
    assert json.loads(token_json(token(1, text))) == text
