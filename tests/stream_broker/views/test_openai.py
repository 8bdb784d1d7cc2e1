from __future__ import annotations

import json
from typing import Any

import pytest

from stream_broker.engines.deltas import Finish, Text
from stream_broker.events import Event, EventEncoder
from stream_broker.record import JobState
from stream_broker.views.openai import OpenAIView, completion, error_object
from tests.stream_broker.building import JOB, NOW, complete, failed, head, token
from tests.stream_broker.parts import Parts, all_of, with_grant

ENCODER = EventEncoder(JOB)
REASONING = ENCODER.text(1, "reasoning", "hm", NOW)
CALL = ENCODER.other(2, "tool_call", {"id": "c1", "name": "f", "arguments": "{}", "index": 0})
NOTICE = ENCODER.other(3, "notice", {"code": "relay_moved", "message": "m"})
CANCELLED = ENCODER.other(3, "job_cancelled", {"reason": "client", "usage": {}})


def view(cursor: int = 0, *, usage: bool = False) -> OpenAIView:
    return OpenAIView(head(include_usage=usage), cursor)


def chunks(body: bytes) -> list[tuple[str | None, Any]]:
    """(id, data) of each block."""
    found = []
    for block in body.decode().split("\n\n")[:-1]:
        *marked, data = block.split("\n")
        said = data.removeprefix("data: ")
        found.append(
            (marked[0][4:] if marked else None, said if said == "[DONE]" else json.loads(said))
        )
    return found


def test_it_opens_with_the_role_and_no_number() -> None:
    ((number, chunk),) = chunks(view().opening())
    assert number is None
    assert chunk["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert (chunk["id"], chunk["created"], chunk["model"]) == (f"chatcmpl-{JOB}", int(NOW), "small")


def test_a_stream_taken_up_again_has_no_second_role() -> None:
    assert view(cursor=3).opening() == b""


def test_only_the_last_block_of_an_event_has_its_number() -> None:
    found = chunks(view(usage=True).blocks([token(1, "a"), complete(2)]))
    assert [number for number, _ in found] == ["1", None, None, "2"]
    assert found[1][1]["choices"][0]["finish_reason"] == "stop"
    assert found[2][1]["choices"] == []
    assert found[2][1]["usage"]["total_tokens"] == 6
    assert found[0][1]["usage"] is None
    assert found[3][1] == "[DONE]"


def test_usage_is_not_told_unasked() -> None:
    body = view().blocks([token(1, "a"), complete(2)])
    assert b"usage" not in body
    assert len(chunks(body)) == 3


def test_thinking_and_tool_calls_have_their_members() -> None:
    thought, call = [chunk for _, chunk in chunks(view().blocks([REASONING, CALL]))]
    assert thought["choices"][0]["delta"] == {"reasoning_content": "hm"}
    assert call["choices"][0]["delta"]["tool_calls"] == [
        {"index": 0, "id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    ]


def test_events_without_a_shape_are_skipped() -> None:
    assert view().blocks([NOTICE]) == b""


@pytest.mark.parametrize("event", [failed(3), CANCELLED], ids=lambda event: event.name)
def test_an_unclean_end_is_an_error_and_no_done(event: Event) -> None:
    ((number, chunk),) = chunks(view().blocks([event]))
    assert number == "3"
    assert chunk["error"]["message"]
    assert chunk["error"]["code"]


def test_a_lost_log_is_an_error_without_a_number() -> None:
    ((number, chunk),) = chunks(view().failure(failed(3)))
    assert (number, chunk["error"]["code"]) == (None, "log_unavailable")


def test_the_same_job_gives_the_same_blocks_from_any_cursor() -> None:
    events = [token(1, "a"), NOTICE, token(3, "b"), complete(4)]
    whole = view(usage=True).blocks(events)
    for cut in range(5):
        resumed = view(cursor=cut, usage=True)
        assert view(usage=True).blocks(events[:cut]) + resumed.blocks(events[cut:]) == whole


def test_the_whole_completion() -> None:
    end = complete(5)
    state = JobState(head=head(), end=end.body())
    whole = completion(state, [REASONING, CALL, token(3, "a"), token(4, "b"), end])
    (choice,) = whole["choices"]
    assert choice["message"]["content"] == "ab"
    assert choice["message"]["reasoning_content"] == "hm"
    assert "index" not in choice["message"]["tool_calls"][0]
    assert choice["finish_reason"] == "stop"
    assert whole["usage"]["total_tokens"] == 9


@pytest.mark.parametrize(("events", "content"), [([], ""), ([CALL], None)])
def test_an_answer_without_text(events: list[Event], content: str | None) -> None:
    state = JobState(head=head(), end=complete(1).body())
    assert completion(state, events)["choices"][0]["message"]["content"] == content


def test_errors_say_whose_fault_it_is() -> None:
    ours = error_object(failed(1))
    theirs = error_object(
        ENCODER.other(
            1, "job_error", {"code": "context_too_long", "message": "m", "retryable": False}
        )
    )
    assert (ours["type"], theirs["type"]) == ("server_error", "invalid_request_error")


async def test_a_job_that_its_quota_ended_is_no_clean_end(parts: Parts) -> None:
    await parts.begin(with_grant(max_tokens=2, quota_limited=True))
    watch = await parts.watch()
    parts.engines.streams[0].say(Text("a"), Text("b"), Finish("length"))
    body = view().blocks(await all_of(watch))
    assert b"[DONE]" not in body
    *said, (number, last) = chunks(body)
    assert [chunk["choices"][0]["delta"]["content"] for _, chunk in said] == ["a", "b"]
    assert (number, last["error"]["code"]) == ("4", "job_cancelled")
    assert "quota" in last["error"]["message"]


def test_what_the_broker_answers_itself_is_skipped() -> None:
    ours = ENCODER.other(
        2, "tool_call", {"id": "c", "name": "f", "arguments": "{}", "server": True}
    )
    result = ENCODER.other(3, "tool_result", {"id": "c", "name": "f", "ok": True, "content": "x"})
    assert view().blocks([ours, result]) == b""
    state = JobState(head=head(), end=complete(5).body())
    message = completion(state, [token(1, "a"), ours, result, token(4, "b"), complete(5)])
    assert message["choices"][0]["message"]["content"] == "ab"
    assert "tool_calls" not in message["choices"][0]["message"]
