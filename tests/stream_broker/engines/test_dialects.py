"""What engines are asked, and what their refusals mean."""

from __future__ import annotations

import json
from typing import Any

import pytest

from stream_broker.engines.call import EngineCall, HttpRequest
from stream_broker.engines.deltas import MESSAGE_MAX
from stream_broker.engines.dialects import dialect_for
from stream_broker.engines.ollama import OllamaParser
from stream_broker.engines.openai import OpenAIParser
from tests.stream_broker.engines.wires import recorded

USER = {"role": "user", "content": "Hi"}
TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]


def call(**more: Any) -> EngineCall:
    return EngineCall(**{"model": "m", "messages": [USER], "max_tokens": 5, **more})


def body_of(request: HttpRequest) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(request.body)
    return body


def test_each_kind_has_its_dialect() -> None:
    assert isinstance(dialect_for("vllm").parser(), OpenAIParser)
    assert isinstance(dialect_for("ollama").parser(), OllamaParser)
    with pytest.raises(ValueError, match="abacus"):
        dialect_for("abacus")  # type: ignore[arg-type]


def test_openai_is_asked_for_no_more_than_the_call_says() -> None:
    request = dialect_for("vllm").request(call())
    assert (request.method, request.path) == ("POST", "/v1/chat/completions")
    assert body_of(request) == {
        "model": "m",
        "messages": [USER],
        "stream": True,
        "stream_options": {"include_usage": True, "continuous_usage_stats": True},
        "return_progress": True,
        "max_tokens": 5,
    }


def test_openai_is_asked_for_all_that_the_call_says() -> None:
    said = {
        "temperature": 0.0,
        "top_p": 0.5,
        "stop": ["x"],
        "seed": 0,
        "tools": TOOLS,
        "tool_choice": "auto",
        "response_format": {"type": "json_object"},
        "parallel_tool_calls": False,
        "frequency_penalty": 0.0,
        "presence_penalty": -1.0,
        "logit_bias": {"17": -100.0},
        "reasoning_effort": "low",
    }
    body = body_of(dialect_for("vllm").request(call(**{**said, "stop": ("x",)})))
    assert said.items() <= body.items()


def test_openai_continues_with_both_flags() -> None:
    body = body_of(dialect_for("vllm").request(call(prefix="One, two,")))
    assert body["messages"] == [USER, {"role": "assistant", "content": "One, two,"}]
    assert (body["continue_final_message"], body["add_generation_prompt"]) == (True, False)


def test_a_text_that_the_caller_began_is_continued_as_one() -> None:
    begun = {"role": "assistant", "content": "One,"}
    asked = call(messages=[USER, begun], prefix=" two,")
    assert asked.conversation() == [USER, {"role": "assistant", "content": "One, two,"}]
    assert begun["content"] == "One,"


def test_ollama_is_asked_in_its_own_words() -> None:
    asked = call(temperature=0.0, top_p=0.5, stop=("x",), seed=0, tools=TOOLS, prefix="One")
    request = dialect_for("ollama").request(asked)
    assert (request.method, request.path) == ("POST", "/api/chat")
    assert body_of(request) == {
        "model": "m",
        "messages": [USER, {"role": "assistant", "content": "One"}],
        "stream": True,
        "truncate": False,
        "options": {"num_predict": 5, "temperature": 0.0, "top_p": 0.5, "stop": ["x"], "seed": 0},
        "tools": TOOLS,
    }


def test_ollama_has_penalties() -> None:
    asked = call(frequency_penalty=0.5, presence_penalty=-1.0)
    options = body_of(dialect_for("ollama").request(asked))["options"]
    assert options == {"num_predict": 5, "frequency_penalty": 0.5, "presence_penalty": -1.0}


def test_ollama_has_formats_and_no_tool_choice() -> None:
    schema = {"type": "object"}
    form = {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}}
    body = body_of(dialect_for("ollama").request(call(response_format=form)))
    assert body["format"] == schema
    body = body_of(dialect_for("ollama").request(call(response_format={"type": "json_object"})))
    assert body["format"] == "json"
    body = body_of(dialect_for("ollama").request(call(tools=TOOLS, tool_choice="none")))
    assert "tools" not in body


def test_ollama_gets_tool_calls_as_objects_and_answers_by_name() -> None:
    function = {"name": "weather", "arguments": '{"city": "Paris"}'}
    messages = [
        USER,
        {"role": "assistant", "content": None, "tool_calls": [{"id": "c1", "function": function}]},
        {"role": "tool", "tool_call_id": "c1", "content": "sunny"},
    ]
    _, asked, answered = body_of(dialect_for("ollama").request(call(messages=messages)))["messages"]
    assert asked["content"] == ""
    assert asked["tool_calls"][0]["function"] == {"name": "weather", "arguments": {"city": "Paris"}}
    assert answered["tool_name"] == "weather"
    assert answered["content"] == "sunny"


def test_ollama_gets_text_and_images_apart() -> None:
    parts = [
        {"type": "text", "text": "What is"},
        {"type": "text", "text": "this?"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
    ]
    asked = call(messages=[{"role": "user", "content": parts}])
    message = body_of(dialect_for("ollama").request(asked))["messages"][0]
    assert message == {"role": "user", "content": "What is\nthis?", "images": ["AAAA"]}


CONTEXT = [
    recorded("llamacpp_context.json"),
    recorded("vllm_context.json"),
    b'{"error":{"message":"This model\'s maximum context length is 2048 tokens. However"}}',
    b'{"error":{"message":"The decoder prompt is longer than the maximum model length of 8"}}',
    b'{"error":"the input length exceeds the context length"}',
    b'{"error":{"code":"context_length_exceeded","message":"too much"}}',
]


@pytest.mark.parametrize("kind", ["vllm", "ollama", "tf_serving"])
@pytest.mark.parametrize("body", CONTEXT)
def test_a_prompt_beyond_the_context_is_recognised(kind: Any, body: bytes) -> None:
    assert dialect_for(kind).refusal(400, body).code == "context_too_long"


@pytest.mark.parametrize("kind", ["vllm", "ollama", "tf_serving"])
@pytest.mark.parametrize("status", [301, 400, 401, 404, 429, 500, 502, 503])
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>maximum context length /etc/passwd</html>",
        b"\xff\xfe",
        b"{" * 10_000,
        b"[1]",
        b'{"error":null}',
        b'{"error":{"message":["x"]}}',
        b'{"error":"File \\"/usr/lib/engine.py\\", line 3"}',
        b'{"error":{"message":"cannot reach 10.0.0.7"}}',
        b'{"error":"' + b"long " * 500 + b'"}',
    ],
)
def test_other_refusals_are_errors_without_internals(kind: Any, status: int, body: bytes) -> None:
    failure = dialect_for(kind).refusal(status, body)
    assert failure.code == "engine_error"
    assert 0 < len(failure.message) <= MESSAGE_MAX
    for internal in ("<", "/", "10.0"):
        assert internal not in failure.message


def test_a_model_that_the_engine_lacks_is_its_own_affair() -> None:
    failure = dialect_for("vllm").refusal(404, recorded("vllm_unknown_model.json"))
    assert failure.code == "engine_error"
    assert "smollm2" not in failure.message
