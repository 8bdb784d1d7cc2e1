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


def view() -> ChatView:
    return ChatView("c-1", created_at=NOW - 1)


def test_it_opens_with_the_conversation() -> None:
    (block,) = parsed(view().opening())
    assert block == {"event": "connected", "data": {"conversation_id": "c-1"}}


def test_tokens_are_counted_whatever_lies_between() -> None:
    notice = EventEncoder(JOB).other(2, "notice", {"code": "relay_moved", "message": "m"})
    blocks = parsed(view().blocks([token(1, "a"), notice, token(3, "b"), complete(4)]))
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


def test_done_has_the_time_of_the_last_token_or_of_the_job() -> None:
    spoken = parsed(view().blocks([token(1, "a"), complete(2)]))
    silent = parsed(view().blocks([complete(1)]))
    assert [block["data"]["timestamp"] for block in spoken] == [NOW, NOW]
    assert [block["data"]["timestamp"] for block in silent] == [NOW - 1]


def test_an_unclean_end_has_no_done() -> None:
    blocks = parsed(view().blocks([failed(1)]) + view().failure(failed(2)))
    assert [block["event"] for block in blocks] == ["job_error", "job_error"]
    assert "id" not in blocks[1]
