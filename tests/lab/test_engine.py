"""The engine of the drills: an even rate, a text that counts, and what it goes on behind."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

from contracts.grants import EngineTarget
from control_plane.continuation import forms_for, read_answer, request_for, verdict
from lab.engine import MODEL, SENT, Answer

TARGET = EngineTarget(kind="vllm", base_url="http://127.0.0.1:1", model=MODEL)


async def answered(body: dict[str, Any], rate: float = 1000.0) -> bytes:
    return b"".join([chunk async for chunk in Answer(body, rate).chunks()])


def texts(answer: bytes) -> str:
    events = [line[6:] for line in answer.decode().splitlines() if line.startswith("data: {")]
    choices = [choice for event in events for choice in json.loads(event)["choices"]]
    return "".join(choice["delta"].get("content", "") for choice in choices)


async def test_it_counts_and_says_when_each_word_was_sent() -> None:
    asked = {"messages": [{"role": "user", "content": "go on"}], "max_tokens": 4}
    words = SENT.findall(texts(await answered(asked)))
    assert [int(number) for number, _ in words] == [1, 2, 3, 4]
    assert all(int(a) <= int(b) for (_, a), (_, b) in pairwise(words))


async def test_it_goes_on_behind_a_text_only_where_it_is_asked_to() -> None:
    begun = [{"role": "user", "content": "go"}, {"role": "assistant", "content": "w1@1 w2@2 "}]
    on = {"messages": begun, "max_tokens": 1, "continue_final_message": True}
    assert SENT.findall(texts(await answered(on)))[0][0] == "3"
    assert SENT.findall(texts(await answered({"messages": begun, "max_tokens": 1})))[0][0] == "1"


async def test_the_control_plane_finds_that_it_continues() -> None:
    seen = {}
    for form in forms_for(TARGET):
        _, body = request_for(TARGET, form)
        seen[form] = read_answer(TARGET, 200, await answered(body))
    assert verdict(seen).continues
