from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.problems import ProblemError
from stream_broker.requests import (
    DEPTH_MAX,
    body_hash,
    chat_spec,
    completion_spec,
    decode_object,
    idempotency_key,
    job_spec,
    whole_number,
)

ASK: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
MOST = 4096
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)
FIELDS = [
    *("model", "messages", "prompt", "max_tokens", "temperature", "top_p", "stop", "seed"),
    *("tools", "session_id", "metadata", "stream", "n", "stream_options"),
]


def refused(body: dict[str, Any], shape: Any = job_spec) -> tuple[str, str | None]:
    with pytest.raises(ProblemError) as caught:
        shape(body, MOST)
    return caught.value.code, caught.value.field


def test_a_job_of_messages() -> None:
    spec = job_spec(ASK | {"temperature": 0.5, "stop": "x", "metadata": {"a": 1}}, MOST)
    assert (spec.kind, spec.model, spec.messages) == ("job", "m", ASK["messages"])
    assert spec.sampling == {"temperature": 0.5, "stop": ["x"]}
    assert spec.max_tokens is None
    assert spec.metadata == {"a": 1}


def test_a_prompt_is_one_message_of_the_user() -> None:
    spec = job_spec({"model": "m", "prompt": "hi"}, MOST, "ws")
    assert (spec.kind, spec.messages) == ("ws", [{"role": "user", "content": "hi"}])


@pytest.mark.parametrize("shape", [job_spec, completion_spec])
@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"messages": [*ASK["messages"], {"role": "user"}]}, "messages[1].content"),
        ({"messages": [{"role": "tool", "content": None}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": [{"text": "a"}]}]}, "messages[0].content[0]"),
        (
            {"messages": [{"role": "user", "content": [{"type": "text"}]}]},
            "messages[0].content[0].text",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "text", "text": 5}]}]},
            "messages[0].content[0].text",
        ),
        ({"messages": [{"role": "assistant"}]}, "messages[0].content"),
        ({"messages": [{"role": "assistant", "tool_calls": []}]}, "messages[0].content"),
        (
            {"messages": [{"role": "assistant", "tool_calls": [{}]}]},
            "messages[0].tool_calls[0]",
        ),
        ({"tools": [{}]}, "tools[0]"),
        ({"tools": ["time", {"type": "function", "function": {}}]}, "tools[1].function"),
        ({"tools": [{"type": "retrieval", "function": {"name": "f"}}]}, "tools[0].type"),
    ],
)
def test_what_an_engine_would_refuse_is_refused_by_its_field(
    shape: Any, more: dict[str, Any], field: str
) -> None:
    assert refused(ASK | more, shape) == ("invalid_request", field)


def test_an_assistant_may_call_tools_and_say_nothing() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    said = {"role": "assistant", "tool_calls": [call]}
    assert completion_spec(ASK | {"messages": [said]}, MOST).messages == [said]


TOOL = {"type": "function", "function": {"name": "f"}}
PASSED_ON = {
    "tool_choice": {"type": "function", "function": {"name": "f"}},
    "parallel_tool_calls": False,
    "response_format": {"type": "json_schema", "json_schema": {"schema": {}}},
    "frequency_penalty": -2,
    "presence_penalty": 0.5,
    "logit_bias": {"17": -100},
    "reasoning_effort": "low",
}


def test_what_a_completion_says_of_sampling_goes_to_the_engine_as_it_came() -> None:
    spec = completion_spec(ASK | {"tools": [TOOL], "user": "u", "top_logprobs": 0} | PASSED_ON, 9)
    assert spec.sampling == {"tools": [TOOL]} | PASSED_ON
    assert completion_spec(ASK | dict.fromkeys(PASSED_ON), 9).sampling == {}


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"frequency_penalty": -3}, "frequency_penalty"),
        ({"presence_penalty": "x"}, "presence_penalty"),
        ({"logit_bias": {"x": 1}}, "logit_bias"),
        ({"logit_bias": {"1": 101}}, "logit_bias"),
        ({"response_format": {"type": "bogus"}}, "response_format.type"),
        ({"tool_choice": "any"}, "tool_choice"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tool_choice": {"type": "function", "function": {"name": "f"}}}, "tool_choice"),
        ({"top_logprobs": 2}, "logprobs"),
        ({"user": 5}, "user"),
    ],
)
def test_what_a_completion_may_not_say_of_sampling(more: dict[str, Any], field: str) -> None:
    code, named = refused(ASK | more, completion_spec)
    assert code == "invalid_request"
    assert named is not None
    assert named.startswith(field)


def nested(levels: int) -> bytes:
    """A body of so many levels."""
    return b'{"a":' * (levels - 1) + b"[]" + b"}" * (levels - 1)


def test_a_body_is_an_object_of_few_levels() -> None:
    assert decode_object(nested(DEPTH_MAX))
    for body in (nested(DEPTH_MAX + 1), nested(900), b"[]", b"null", b"1"):
        with pytest.raises(ProblemError) as caught:
            decode_object(body)
        assert (caught.value.code, caught.value.field) == ("invalid_request", "body")


@pytest.mark.parametrize("shape", [job_spec, completion_spec])
@pytest.mark.parametrize("session", ["a/b", "..", ".", "", "a\x00", "a\n", "x" * 257, "\x85"])
def test_a_session_is_one_that_a_path_can_name(shape: Any, session: str) -> None:
    assert refused(ASK | {"session_id": session}, shape) == ("invalid_request", "session_id")


def test_a_completion_may_name_its_session_in_two_places() -> None:
    assert completion_spec(ASK | {"session_id": "ünïcode …"}, MOST).session_id == "ünïcode …"
    assert completion_spec(ASK | {"metadata": {"session_id": "m"}}, MOST).session_id == "m"
    for other in ({}, {"x": 1}, None, "text", {"session_id": None}):
        assert completion_spec(ASK | {"metadata": other}, MOST).session_id is None
    wrong = ASK | {"metadata": {"session_id": "a/b"}}
    assert refused(wrong, completion_spec) == ("invalid_request", "session_id")


def test_messages_are_passed_on_as_they_came() -> None:
    messages = [{"role": "user", "content": [{"type": "text", "text": "a"}], "extra": 1}]
    assert job_spec({"model": "m", "messages": messages}, MOST).messages == messages


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"messages": None}, "messages"),
        ({"prompt": "also"}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "x"}]}, "messages[0].role"),
        ({"model": ""}, "model"),
        ({"model": None}, "model"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": MOST + 1}, "max_tokens"),
        ({"max_tokens": 1.5}, "max_tokens"),
        ({"temperature": 3}, "temperature"),
        ({"top_p": 0}, "top_p"),
        ({"stop": ["a"] * 5}, "stop"),
        ({"stop": [""]}, "stop[0]"),
        ({"metadata": {"a": "x" * 5000}}, "metadata"),
        ({"metadata": []}, "metadata"),
    ],
)
def test_a_job_that_is_not_valid_names_the_field(change: dict[str, Any], field: str) -> None:
    code, named = refused(ASK | change)
    assert code == "invalid_request"
    assert (named or "").replace("[...]", "[0]") == field


def test_a_missing_model_is_named() -> None:
    assert refused({"prompt": "hi"}) == ("invalid_request", "model")


def test_a_completion() -> None:
    body = ASK | {
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_completion_tokens": 7,
        "max_tokens": 9,
        "tool_choice": "auto",
        "unknown": 1,
    }
    spec = completion_spec(body, MOST)
    assert (spec.kind, spec.stream, spec.include_usage) == ("chat_completion", True, True)
    assert (spec.max_tokens, spec.sampling) == (7, {"tool_choice": "auto"})


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"n": 2}, "n"),
        ({"logprobs": True}, "logprobs"),
        ({"max_tokens": MOST + 1}, "max_tokens"),
        ({"max_completion_tokens": MOST + 1}, "max_completion_tokens"),
    ],
)
def test_a_completion_that_is_not_offered(change: dict[str, Any], field: str) -> None:
    assert refused(ASK | change, completion_spec) == ("invalid_request", field)


def test_a_chat_message_follows_its_history() -> None:
    history = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    spec = chat_spec({"message": "c"}, "m", history, "c-1")
    assert spec.messages == [*history, {"role": "user", "content": "c"}]
    assert (spec.kind, spec.conversation_id) == ("chat", "c-1")


@pytest.mark.parametrize("shape", [job_spec, completion_spec])
@given(body=st.dictionaries(st.sampled_from(FIELDS), values, max_size=6))
def test_any_object_is_taken_or_refused(shape: Any, body: dict[str, Any]) -> None:
    try:
        spec = shape(ASK | body, MOST)
    except ProblemError as problem:
        assert problem.code == "invalid_request"  # noqa: PT017
    else:
        assert spec.prompt_estimate >= 4


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xff",
        b"nul",
        b'{"a":"\\ud800"}',
        b"[" * 100_000,
        b'{"a":1}x',
    ],
)
def test_what_is_not_json_is_refused(body: bytes) -> None:
    with pytest.raises(ProblemError) as caught:
        decode_object(body)
    assert caught.value.code == "invalid_json"


@pytest.mark.parametrize("body", [b"[]", b"1", b'"a"', b"null"])
def test_json_that_is_no_object_is_refused(body: bytes) -> None:
    with pytest.raises(ProblemError) as caught:
        decode_object(body)
    assert caught.value.code == "invalid_request"


@given(st.binary())
def test_any_bytes_are_answered(body: bytes) -> None:
    try:
        assert isinstance(decode_object(body), dict)
    except ProblemError as problem:
        assert problem.status == 400  # noqa: PT017


@given(st.dictionaries(st.text(), values, max_size=4))
def test_the_hash_is_the_same_for_any_order(body: dict[str, Any]) -> None:
    turned = dict(reversed(body.items()))
    assert body_hash(body) == body_hash(turned)


def test_numbers_of_any_size_have_a_hash() -> None:
    huge = decode_object(b'{"model":"m","prompt":"p","metadata":{"a":' + b"9" * 30 + b"}}")
    assert len(job_spec(huge, MOST).body_hash) == 64


def test_other_bodies_have_other_hashes() -> None:
    assert body_hash(ASK) != body_hash(ASK | {"seed": 1})
    assert body_hash({"a": {"b": 1, "c": 2}}) == body_hash(json.loads('{"a":{"c":2,"b":1}}'))


@pytest.mark.parametrize(
    ("raw", "key"),
    [("k", "k"), ('"k"', "k"), (" k ", "k"), (None, None), ('"', '"'), ("x" * 255, "x" * 255)],
)
def test_a_key_is_quoted_or_bare(raw: str | None, key: str | None) -> None:
    assert idempotency_key(raw) == key


@pytest.mark.parametrize("raw", ["", " ", '""', "x" * 256, "ä", "a\tb"])
def test_a_bad_key_is_refused(raw: str) -> None:
    with pytest.raises(ProblemError) as caught:
        idempotency_key(raw)
    assert caught.value.field == "Idempotency-Key"


def test_a_bad_key_of_a_message_is_named_as_it_stands_there() -> None:
    with pytest.raises(ProblemError) as caught:
        idempotency_key("", "idempotency_key")
    assert caught.value.field == "idempotency_key"


@pytest.mark.parametrize(
    ("raw", "number"),
    [("0", 0), ("17", 17), ("", None), ("-1", None), ("1.0", None), ("²", None), ("9" * 16, None)],
)
def test_a_cursor_is_digits(raw: str, number: int | None) -> None:
    assert whole_number(raw) == number


MINE = {"type": "function", "function": {"name": "mine"}}


@pytest.mark.parametrize("shape", [job_spec, completion_spec])
@pytest.mark.parametrize(
    ("tools", "named", "own"),
    [
        (None, [], None),
        ([], [], []),
        ([MINE], [], [MINE]),
        (["time"], ["time"], None),
        (["time", MINE, "sum", "time"], ["time", "sum"], [MINE]),
    ],
)
def test_tools_are_the_clients_own_or_names_of_the_policys(
    shape: Any, tools: Any, named: list[str], own: Any
) -> None:
    spec = shape(ASK | {"tools": tools}, MOST)
    assert (spec.server_tools, spec.sampling.get("tools")) == (named, own)


@pytest.mark.parametrize("shape", [job_spec, completion_spec])
@pytest.mark.parametrize(
    "tools", ["time", [1], [""], ["x" * 65], [None], [["time"]], [f"t{n}" for n in range(33)]]
)
def test_what_names_no_tool_is_refused(shape: Any, tools: Any) -> None:
    code, field = refused(ASK | {"tools": tools}, shape)
    assert code == "invalid_request"
    assert field is not None
    assert field.startswith("tools")


def test_a_chat_message_names_tools_only() -> None:
    spec = chat_spec({"message": "hi", "tools": ["time", "time"]}, "m", [], "c")
    assert spec.server_tools == ["time"]
    with pytest.raises(ProblemError):
        chat_spec({"message": "hi", "tools": [MINE]}, "m", [], "c")
