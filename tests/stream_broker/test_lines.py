"""Lines on jobs and engines say figures and codes, and quote nobody."""

from __future__ import annotations

import msgspec

from stream_broker.events import Event
from stream_broker.lines import ended, told

SECRET = "my diagnosis"


def test_an_engine_s_refusal_is_not_quoted() -> None:
    said = {"error": {"message": f"cannot parse {SECRET}", "type": "invalid", "code": 400}}
    assert told(400, msgspec.json.encode(said)) == "invalid, 400"
    assert told(422, f"<p>{SECRET}</p>".encode()) == "19 bytes"
    assert told(400, b'{"error": "' + SECRET.encode() + b'"}') == "25 bytes"
    assert told(400, b"\xff\xfe") == "2 bytes"
    assert told(500, b"out of memory") == "b'out of memory'"


def test_what_is_told_of_an_end() -> None:
    body = {"finish_reason": "stop", "usage": {"prompt_tokens": 3, "completion_tokens": 5}}
    end = Event(7, "job_complete", msgspec.json.encode(body | {"metrics": {"ttft_ms": 12.0}}))
    line = ended("n03w0-x", end)
    assert (line["code"], line["completion_tokens"], line["ttft_ms"]) == ("stop", 5, 12.0)
    failed = Event(8, "job_error", b'{"code":"engine_stalled","message":"no","usage":null}')
    assert (ended("n03w0-x", failed)["code"], ended("n03w0-x", failed)["ttft_ms"]) == (
        "engine_stalled", None,
    )  # fmt: skip
