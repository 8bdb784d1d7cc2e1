"""The parser of OpenAI streams: recorded streams, every cut, every end."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.codes import JOB_ERRORS
from contracts.grants import Usage
from stream_broker.engines.deltas import (
    MESSAGE_MAX,
    Delta,
    Failure,
    Finish,
    Reasoning,
    Text,
    ToolCall,
)
from stream_broker.engines.openai import OpenAIParser
from tests.stream_broker.engines.wires import (
    DATA,
    DONE,
    content,
    cut,
    event,
    finish,
    parse,
    recorded,
    relaxed,
    text_of,
)

STREAMS = sorted(path.name for path in DATA.glob("*.sse"))
LINE_MAX = 1 << 20


def parsed(*pieces: bytes, complete: bool = True, line_max: int = LINE_MAX) -> list[Delta]:
    return parse(OpenAIParser(line_max), pieces, complete=complete)


def failure(deltas: list[Delta]) -> str:
    last = deltas[-1]
    assert isinstance(last, Failure)
    assert last.code in JOB_ERRORS
    assert 0 < len(last.message) <= MESSAGE_MAX
    return last.code


def test_vllm_sends_the_last_text_with_the_finish() -> None:
    deltas = parsed(recorded("vllm_text.sse"))
    assert text_of(deltas) == "L'Etoile de la Bievre \"d'Or\","
    assert deltas[-1] == Finish("length", Usage(prompt_tokens=37, completion_tokens=12))


def test_llamacpp_begins_with_null_and_ends_with_an_empty_delta() -> None:
    deltas = parsed(recorded("llamacpp_unicode.sse"))
    assert "日本語" in text_of(deltas)
    last = deltas[-1]
    assert isinstance(last, Finish)
    assert last.reason == "length"
    assert last.usage is not None
    assert last.usage.completion_tokens == 16


def test_a_continuation_has_only_the_new_text() -> None:
    deltas = parsed(recorded("llamacpp_continuation.sse"))
    assert text_of(deltas) == " four, five,"


def test_usage_in_every_chunk_counts_once() -> None:
    deltas = parsed(recorded("vllm_continuous_usage.sse"))
    assert deltas[-1] == Finish("length", Usage(prompt_tokens=37, completion_tokens=12))


def test_an_aborted_answer_is_truncated_though_done_follows() -> None:
    assert failure(parsed(recorded("vllm_abort.sse"))) == "engine_truncated"


def test_a_dead_engine_core_is_an_error_though_done_follows() -> None:
    deltas = parsed(recorded("vllm_engine_died.sse"))
    assert text_of(deltas) == "L'Et"
    assert failure(deltas) == "engine_error"
    assert "EngineCore" not in str(deltas[-1])


def test_a_killed_engine_is_truncated() -> None:
    deltas = parsed(recorded("llamacpp_killed.sse"), complete=False)
    assert len(deltas) > 10
    assert failure(deltas) == "engine_truncated"


def test_tool_calls_come_whole_before_the_finish() -> None:
    assert parsed(recorded("openai_tools.sse")) == [
        ToolCall("chatcmpl-tool-1", "weather", '{"city": "Paris"}'),
        ToolCall("chatcmpl-tool-2", "time", "{}"),
        Finish("tool_calls", Usage(prompt_tokens=37, completion_tokens=12)),
    ]


def test_reasoning_has_two_names_and_is_told_once() -> None:
    deltas = parsed(recorded("openai_reasoning.sse"))
    assert deltas[:3] == [Reasoning("Let me "), Reasoning("think."), Text("Four")]
    both = {"reasoning": "a", "reasoning_content": "a", "content": "b"}
    assert parsed(event({"choices": [{"delta": both}]}))[:2] == [Reasoning("a"), Text("b")]


@pytest.mark.parametrize("name", STREAMS)
def test_byte_by_byte_is_the_same(name: str) -> None:
    data = recorded(name)
    assert parsed(*cut(data, range(len(data)))) == parsed(data)


@pytest.mark.parametrize("name", STREAMS)
def test_other_line_ends_are_the_same(name: str) -> None:
    data = recorded(name)
    for line_end in (b"\r\n", b"\r"):
        other = b"\xef\xbb\xbf" + data.replace(b"\n", line_end)
        assert parsed(other) == parsed(data)
        assert parsed(*cut(other, range(len(other)))) == parsed(data)


@relaxed
@given(st.sampled_from(STREAMS), st.lists(st.integers(0, 1 << 16)), st.booleans())
def test_any_cut_is_the_same(name: str, places: list[int], crlf: bool) -> None:
    data = recorded(name)
    whole = parsed(data)
    other = data.replace(b"\n", b"\r\n") if crlf else data
    assert parsed(*cut(other, places)) == whole


@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_cut_short_anywhere_is_never_a_clean_end(name: str) -> None:
    data = recorded(name)
    for length in range(0, data.rfind(b"data: [DONE]") + len(DONE) - 1, 7):
        assert isinstance(parsed(data[:length], complete=False)[-1], Failure)


def test_done_alone_is_not_a_clean_end() -> None:
    assert failure(parsed(content("Hi"), DONE)) == "engine_truncated"


def test_a_finish_without_done_is_clean_if_http_ended_well() -> None:
    pieces = (content("Hi"), finish("stop"))
    assert parsed(*pieces)[-1] == Finish("stop")
    assert failure(parsed(*pieces, complete=False)) == "engine_truncated"


def test_nothing_is_heard_after_the_end() -> None:
    for between in ([DONE], []):
        pieces = [content("Hi"), content("!"), finish("stop"), *between, content("more"), DONE]
        said = [Text("Hi"), Text("!"), Finish("stop")]
        assert parsed(*pieces) == parsed(b"".join(pieces)) == said


@pytest.mark.parametrize(
    ("told", "code"),
    [("abort", "engine_truncated"), ("error", "engine_error"), ("???", "engine_error")],
)
def test_other_reasons_are_failures(told: str, code: str) -> None:
    assert failure(parsed(content("Hi"), finish(told), DONE)) == code


@pytest.mark.parametrize(
    "bad",
    [
        b"data: {\n\n",
        b"data: <html>\n\n",
        b'data: {"choices":[{"delta":{"content":7}}]}\n\n',
        b'data: {"choices":{}}\n\n',
        b"data: " + b"[" * 100_000 + b"\n\n",
        b"data: []\n\n",
    ],
)
def test_what_is_no_chunk_is_an_error(bad: bytes) -> None:
    deltas = parsed(content("Hi"), bad, finish("stop"), DONE)
    assert deltas[0] == Text("Hi")
    assert failure(deltas) == "engine_error"


def test_invalid_utf8_is_replaced_on_both_paths() -> None:
    bad = content("x").replace(b'"x"', b'"a\xff\xe6\x97b"')
    assert parsed(bad, content("y"), bad)[:3] == [
        Text("a\ufffd\ufffdb"),
        Text("y"),
        Text("a\ufffd\ufffdb"),
    ]


def test_a_context_overflow_in_the_stream_has_its_code() -> None:
    error = {"message": "request exceeds the available context size", "code": 400}
    assert failure(parsed(event({"error": error}))) == "context_too_long"


def test_comments_other_fields_and_empty_events_say_nothing() -> None:
    noise = b": ping\n\n:\n\nevent: x\nid: 7\nretry: 1\n\ndata:\n\ndata\n\n\n\n\n"
    assert parsed(noise, content("Hi"), noise, finish("stop"), DONE) == [Text("Hi"), Finish("stop")]


def test_data_over_several_lines_is_one_event() -> None:
    lines = b'id: 1\ndata:{"choices":\ndata: [{"delta":{"content":"Hi"}}]}\n: c\n\n'
    assert parsed(lines)[0] == Text("Hi")


@pytest.mark.parametrize("pieces", [1, 7, 1000])
def test_a_line_too_long_is_an_error_after_what_came_before(pieces: int) -> None:
    data = content("Hi") + content("x" * 2000) + content("never")
    deltas = parsed(*cut(data, range(0, len(data), pieces)), line_max=1024)
    assert deltas[0] == Text("Hi")
    assert len(deltas) == 2
    assert failure(deltas) == "engine_error"


def test_ten_megabytes_without_an_end_are_not_kept() -> None:
    parser = OpenAIParser(LINE_MAX)
    deltas = [delta for _ in range(320) for delta in parser.feed(b"x" * 32_768)]
    assert len(deltas) == 1
    assert failure(deltas) == "engine_error"


def test_a_call_cut_at_the_length_is_left_out_and_otherwise_an_error() -> None:
    part = event({"choices": [{"delta": {"tool_calls": [_part(0, "f", '{"a"')]}}]})
    assert parsed(part, finish("length"), DONE) == [Finish("length")]
    assert failure(parsed(part, finish("tool_calls"), DONE)) == "engine_error"


def test_calls_without_id_or_arguments_get_them() -> None:
    parts = [_part(1, "g", None), _part(0, "f", None)]
    deltas = parsed(event({"choices": [{"delta": {"tool_calls": parts}}]}), finish("stop"), DONE)
    assert deltas[:2] == [ToolCall("call_0", "f", "{}"), ToolCall("call_1", "g", "{}")]
    assert deltas[2] == Finish("tool_calls")


def test_a_flood_of_call_parts_is_bounded() -> None:
    part = event({"choices": [{"delta": {"tool_calls": [_part(0, "f", "")] * 10}}]})
    assert failure(parsed(*[part] * 10, line_max=4096)) == "engine_error"


def _part(index: int, name: str, arguments: str | None) -> dict[str, object]:
    return {"index": index, "function": {"name": name, "arguments": arguments}}
