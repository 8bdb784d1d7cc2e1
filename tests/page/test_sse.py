"""The parser of event streams, on bytes cut anywhere."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.async_api import Page

from tests.page.modules import run_module

Event = tuple[str, str, str]

CASES: dict[str, tuple[bytes, list[Event]]] = {
    "one block": (b"id: 1\nevent: token\ndata: {}\n\n", [("1", "token", "{}")]),
    "carriage returns": (
        b"id: 1\rdata: a\r\rdata: b\r\r",
        [("1", "message", "a"), ("1", "message", "b")],
    ),
    "both": (b"data: a\r\n\r\ndata: b\r\n\r\n", [("", "message", "a"), ("", "message", "b")]),
    "mixed ends": (
        b"data: a\n\r\ndata: b\r\r\ndata: c\n\n",
        [("", "message", "a"), ("", "message", "b"), ("", "message", "c")],
    ),
    "byte order mark": ("\ufeffdata: a\n\n".encode(), [("", "message", "a")]),
    "second mark stays": ("\ufeff\ufeffdata: a\n\n".encode(), []),
    "many bytes to a character": ("data: お米 🍚 é\n\n".encode(), [("", "message", "お米 🍚 é")]),
    "comments": (
        b": keep-alive\n: keep-alive\ndata: a\n: between\ndata: b\n\n",
        [("", "message", "a\nb")],
    ),
    "comment alone": (b": keep-alive\n\n", []),
    "no colon": (b"data\ndata\n\n", [("", "message", "\n")]),
    "one space only": (b"data:  a\ndata:b\n\n", [("", "message", " a\nb")]),
    "identifier stays": (
        b"id: 7\ndata: a\n\ndata: b\n\nid\ndata: c\n\n",
        [("7", "message", "a"), ("7", "message", "b"), ("", "message", "c")],
    ),
    "identifier with nul": (
        b"id: 1\ndata: a\n\nid: 2\x00\ndata: b\n\n",
        [("1", "message", "a"), ("1", "message", "b")],
    ),
    "empty data": (b"event: x\n\ndata: a\n\n", [("", "message", "a")]),
    "unfinished": (b"data: a\n\ndata: b\n", [("", "message", "a")]),
    "unknown fields": (b"datum: x\nDATA: y\ndata: a\n\n", [("", "message", "a")]),
    "colon in value": (b'data: {"a":1}\n\n', [("", "message", '{"a":1}')]),
}

PARSE = """
    const seen = [];
    for (const size of given.sizes) {
        const parser = new module.SseParser();
        const events = [];
        for (let i = 0; i < given.bytes.length; i += size) {
            events.push(...parser.push(new Uint8Array(given.bytes.slice(i, i + size))));
        }
        const rows = events.map(({ id, event, data }) => [id, event, data]);
        seen.push({ events: rows, retry: parser.retry });
    }
    return seen;
"""


@pytest.mark.parametrize("name", CASES)
async def test_any_cut_gives_the_same_events(lab: Page, name: str) -> None:
    stream, wanted = CASES[name]
    given = {"bytes": list(stream), "sizes": [len(stream), 1, 2, 3, 5, 7]}
    results: list[dict[str, Any]] = await run_module(lab, "wire/sse.js", PARSE, given)
    for result in results:
        assert [tuple(event) for event in result["events"]] == wanted


@pytest.mark.parametrize(
    ("line", "wanted"),
    [("retry: 1500", 1500), ("retry: 1.5", None), ("retry: -1", None), ("retry:", None)],
)
async def test_retry_is_digits_only(lab: Page, line: str, wanted: int | None) -> None:
    given = {"bytes": list(f"{line}\ndata: a\n\n".encode()), "sizes": [1]}
    results = await run_module(lab, "wire/sse.js", PARSE, given)
    assert results[0]["retry"] == wanted
