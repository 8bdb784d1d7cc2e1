from __future__ import annotations

import json
from typing import Any

from stream_broker.events import EventEncoder
from stream_broker.views.chat import ChatView
from tests.stream_broker.building import JOB, NOW, complete, failed, token


def parsed(body: bytes) -> list[dict[str, Any]]:
    blocks = []
    for block in body.decode().split("\n\n")[:-1]:
        fields = dict(line.split(": ", 1) for line in block.split("\n"))
        blocks.append(fields | {"data": json.loads(fields["data"])})
    return blocks


def test_it_opens_with_the_conversation() -> None:
    (block,) = parsed(ChatView("c-1").opening())
    assert block == {"event": "connected", "data": {"conversation_id": "c-1"}}


def test_tokens_are_counted_whatever_lies_between() -> None:
    notice = EventEncoder(JOB).other(2, "notice", {"code": "relay_moved", "message": "m"})
    blocks = parsed(ChatView("c-1").blocks([token(1, "a"), notice, token(3, "b"), complete(4)]))
    assert [block["id"] for block in blocks] == ["1", "2", "3", "4"]
    tokens = [block["data"] for block in blocks if block["event"] == "token"]
    assert [told["sequence"] for told in tokens] == [1, 2, 3]
    assert tokens[0] == {
        "conversation_id": "c-1",
        "token": "a",
        "sequence": 1,
        "done": False,
        "timestamp": NOW,
    }
    assert (tokens[-1]["token"], tokens[-1]["done"]) == ("[DONE]", True)


def test_an_unclean_end_has_no_done() -> None:
    blocks = parsed(ChatView("c-1").blocks([failed(1)]) + ChatView("c-1").failure(failed(2)))
    assert [block["event"] for block in blocks] == ["job_error", "job_error"]
    assert "id" not in blocks[1]
