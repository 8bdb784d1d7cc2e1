from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_broker import conversations as module
from stream_broker.conversations import CONVERSATION_MAX, Conversations, bounded
from stream_broker.log.stores import OneStore
from tests.stream_broker.building import KEYS
from tests.support.cluster import free_port


def said(text: str, role: str = "user") -> dict[str, Any]:
    return {"role": role, "content": text}


async def unknown(_: str) -> None:
    """No job has answered."""


@pytest.fixture(params=["memory", "redis"])
def conversations(request: pytest.FixtureRequest) -> Conversations:
    stores = request.getfixturevalue("stores") if request.param == "redis" else None
    return Conversations(stores, KEYS, 60)


async def test_what_was_said_is_remembered(conversations: Conversations) -> None:
    messages = [said("a"), said("b", "assistant")]
    assert await conversations.history("u", "c", unknown) == []
    await conversations.remember("u", "c", messages)
    assert await conversations.history("u", "c", unknown) == messages


async def test_a_conversation_is_its_users_alone(conversations: Conversations) -> None:
    await conversations.remember("u", "c", [said("a")])
    assert await conversations.history("v", "c", unknown) == []
    assert await conversations.history("u", "d", unknown) == []


async def test_a_history_handed_out_is_the_callers_own(conversations: Conversations) -> None:
    await conversations.remember("u", "c", [said("a")])
    (await conversations.history("u", "c", unknown)).append(said("b"))
    assert await conversations.history("u", "c", unknown) == [said("a")]


async def test_memory_keeps_the_latest_conversations(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MEMORY_COUNT", 2)
    conversations = Conversations(None, KEYS, 60)
    for name in ("a", "b", "a", "c"):
        await conversations.remember("u", name, [said(name)])
    found = [await conversations.history("u", name, unknown) for name in "abc"]
    assert found == [[said("a")], [], [said("c")]]


async def test_a_store_that_is_away_remembers_nothing_and_says_nothing() -> None:
    stores = OneStore(("127.0.0.1", free_port()), timeout=0.5)
    conversations = Conversations(stores, KEYS, 60)
    await conversations.remember("u", "c", [said("a")])
    assert await conversations.history("u", "c", unknown) == []
    await stores.aclose()


messages = st.builds(
    said, st.text(max_size=12_000), st.sampled_from(["user", "assistant", "system"])
)


@given(st.lists(messages, max_size=8))
def test_what_is_kept_is_bounded_and_begins_with_the_user(history: list[dict[str, Any]]) -> None:
    kept = bounded(history)
    assert kept == history[len(history) - len(kept) :]
    assert sum(len(str(message)) for message in kept) <= 4 * CONVERSATION_MAX
    assert not kept or kept[0]["role"] == "user"


async def test_an_answer_under_way_is_asked_for(conversations: Conversations) -> None:
    async def answer(job_id: str) -> str | None:
        return {"j1": "b"}.get(job_id)

    await conversations.begin("u", "c", [said("a")], "j1")
    assert await conversations.history("u", "c", answer) == [said("a"), said("b", "assistant")]
    await conversations.begin("u", "c", [said("a"), said("b", "assistant"), said("c")], "j2")
    assert await conversations.history("u", "c", answer) == [said("a"), said("b", "assistant")]
