"""The parser of Ollama's NDJSON, checked against the types of its own client."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ollama._types import ChatResponse

from contracts.grants import Usage
from stream_broker.engines.deltas import Delta, Failure, Finish, Reasoning, Text, ToolCall
from stream_broker.engines.ollama import OllamaParser
from tests.stream_broker.engines.wires import DATA, cut, parse, recorded, relaxed

STREAMS = sorted(path.name for path in DATA.glob("*.ndjson"))
USAGE = Usage(prompt_tokens=34, completion_tokens=3)


def parsed(*pieces: bytes, complete: bool = True, line_max: int = 1 << 20) -> list[Delta]:
    return parse(OllamaParser(line_max), pieces, complete=complete)


def code(deltas: list[Delta]) -> str:
    last = deltas[-1]
    assert isinstance(last, Failure)
    return last.code


def test_text_and_counts() -> None:
    said = [Text("Here"), Text(" are"), Text(" 日本"), Finish("length", USAGE)]
    assert parsed(recorded("ollama_text.ndjson")) == said


def test_thinking_is_reasoning() -> None:
    said = [Reasoning("Hmm, "), Reasoning("yes."), Text("Yes."), Finish("stop", USAGE)]
    assert parsed(recorded("ollama_thinking.ndjson")) == said


def test_tool_calls_are_whole_have_ids_and_end_as_tool_calls() -> None:
    assert parsed(recorded("ollama_tools.ndjson")) == [
        ToolCall("call_0", "weather", '{"city": "Paris"}'),
        ToolCall("call_x", "time", "{}"),
        Finish("tool_calls", USAGE),
    ]


def test_an_error_line_ends_the_stream() -> None:
    deltas = parsed(recorded("ollama_error.ndjson"), b'{"done":true,"done_reason":"stop"}\n')
    assert deltas[0] == Text("Here")
    assert len(deltas) == 2
    assert code(deltas) == "engine_error"
    assert "EOF" not in str(deltas[-1])


def test_an_error_line_may_tell_of_the_context() -> None:
    line = b'{"error":"the input length exceeds the context length"}\n'
    assert code(parsed(line)) == "context_too_long"


@pytest.mark.parametrize("name", STREAMS)
def test_byte_by_byte_is_the_same(name: str) -> None:
    data = recorded(name)
    assert parsed(*cut(data, range(len(data)))) == parsed(data)


@relaxed
@given(st.sampled_from(STREAMS), st.lists(st.integers(0, 1 << 14)), st.booleans())
def test_any_cut_is_the_same(name: str, places: list[int], crlf: bool) -> None:
    data = recorded(name)
    other = data.replace(b"\n", b"\r\n\r\n") if crlf else data
    assert parsed(*cut(other, places)) == parsed(data)


@pytest.mark.parametrize("name", [name for name in STREAMS if name != "ollama_error.ndjson"])
def test_our_view_of_a_line_is_the_clients(name: str) -> None:
    """Ollama's own client reads the same text, thinking, calls, end and counts."""
    lines = [ChatResponse.model_validate_json(line) for line in recorded(name).splitlines()]
    ours = parsed(recorded(name))
    assert _joined(ours, Text) == "".join(line.message.content or "" for line in lines)
    assert _joined(ours, Reasoning) == "".join(line.message.thinking or "" for line in lines)
    calls = [call.function.name for line in lines for call in line.message.tool_calls or ()]
    assert [delta.name for delta in ours if isinstance(delta, ToolCall)] == calls
    last = ours[-1]
    assert isinstance(last, Finish)
    assert last.usage is not None
    assert (last.usage.prompt_tokens, last.usage.completion_tokens) == (
        lines[-1].prompt_eval_count,
        lines[-1].eval_count,
    )


def test_counts_left_out_are_zero_and_text_in_the_last_object_counts() -> None:
    line = b'{"message":{"role":"assistant","content":"x"},"done":true,"done_reason":"stop"}\n'
    assert parsed(line) == [Text("x"), Finish("stop", Usage())]
    assert parsed(b'{"done":true}\n') == [Finish("stop", Usage())]


@pytest.mark.parametrize("reason", ["load", "unload", "weather"])
def test_an_end_that_answers_nothing_is_an_error(reason: str) -> None:
    assert code(parsed(b'{"done":true,"done_reason":"%s"}\n' % reason.encode())) == "engine_error"


def test_no_end_is_truncated_complete_or_not() -> None:
    line = recorded("ollama_text.ndjson").splitlines(keepends=True)[0]
    assert code(parsed(line)) == "engine_truncated"
    assert code(parsed(line, complete=False)) == "engine_truncated"
    assert code(parsed()) == "engine_truncated"


@pytest.mark.parametrize("bad", [b"{\n", b"<html>\n", b"[]\n", b'{"done":"yes"}\n'])
def test_what_is_no_object_of_the_stream_is_an_error(bad: bytes) -> None:
    assert code(parsed(bad, recorded("ollama_text.ndjson"))) == "engine_error"


def test_nothing_is_heard_after_the_end() -> None:
    data = recorded("ollama_text.ndjson")
    assert parsed(data + data) == parsed(data)
    assert parsed(data, data) == parsed(data)


def test_invalid_utf8_is_replaced() -> None:
    line = b'{"message":{"role":"assistant","content":"a\xffb"}}\n'
    assert parsed(line)[0] == Text("a\ufffdb")


@pytest.mark.parametrize("size", [1, 100, 5000])
def test_a_line_too_long_is_an_error_after_what_came_before(size: int) -> None:
    first = recorded("ollama_text.ndjson").splitlines(keepends=True)[0]
    data = first + b" " * 2000 + b"\n" + first
    deltas = parsed(*cut(data, range(0, len(data), size)), line_max=1024)
    assert deltas[0] == Text("Here")
    assert len(deltas) == 2
    assert code(deltas) == "engine_error"


def _joined(deltas: list[Delta], kind: type[Text] | type[Reasoning]) -> str:
    return "".join(delta.text for delta in deltas if isinstance(delta, kind))
