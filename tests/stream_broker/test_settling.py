from __future__ import annotations

from typing import Any

import pytest

from contracts.grants import SETTLED_TEXT_MAX, Said, Settlement, Usage
from stream_broker.events import Event
from stream_broker.relay import Relay
from stream_broker.settling import asked_of, bounded_text, session_of, settlement_of
from tests.stream_broker.building import JOB, NOW, USER, head


def said(*roles_and_texts: str) -> list[dict[str, Any]]:
    """Messages out of `role: text`."""
    pairs = (line.split(": ", 1) for line in roles_and_texts)
    return [{"role": role, "content": text} for role, text in pairs]


def texts(messages: list[dict[str, Any]]) -> list[str]:
    asked = asked_of(messages)
    assert all(one.role == "user" for one in asked)
    return [one.text for one in asked]


def ended(how: str) -> Event:
    relay = Relay(JOB, NOW, log_max=1 << 20, prompt_estimate=7)
    return (relay.fail("engine_error", "x") if how == "failed" else relay.cancel("quota"))[0]


@pytest.mark.parametrize(("how", "code"), [("failed", "engine_error"), ("cancelled", "quota")])
def test_a_settlement_says_how_it_ended(how: str, code: str) -> None:
    settlement = settlement_of(
        head(session_id="s"),
        ended(how),
        engine="ollama",
        node="n",
        first_token_at=None,
        ended_at=NOW + 3,
    )
    assert (settlement.outcome, settlement.code) == (how, code)
    assert (settlement.engine, settlement.final_text) == ("ollama", None)
    assert settlement.usage == Usage(prompt_tokens=7, estimated=True)
    assert (settlement.user_id, settlement.lease_id, settlement.session_id) == (USER, "l-1", "s")
    assert (settlement.created_at, settlement.ended_at) == (NOW, NOW + 3)


@pytest.mark.parametrize("unit", ["a", "é", "語", "🦊"])
def test_a_long_text_is_cut_at_a_whole_character(unit: str) -> None:
    text = "x" + unit * SETTLED_TEXT_MAX
    bounded = bounded_text(text)
    assert text.startswith(bounded)
    assert SETTLED_TEXT_MAX - 4 < len(bounded.encode()) <= SETTLED_TEXT_MAX
    assert bounded_text("short 🦊") == "short 🦊"


def test_only_what_is_new_to_the_conversation_is_reported() -> None:
    assert texts(said("system: be brief", "user: a")) == ["a"]
    assert texts(said("user: a", "assistant: b", "user: c", "user: d")) == ["c", "d"]
    assert texts(said("user: a", "assistant: b")) == []
    tools = [{"role": "tool", "content": "4"}, {"role": "user", "content": None}]
    assert texts([*said("user: a", "assistant: b", "user: c"), *tools]) == ["c"]


def test_what_is_not_text_is_named() -> None:
    parts = [{"type": "text", "text": "look:"}, {"type": "image_url", "image_url": {}}, {}]
    assert texts([{"role": "user", "content": parts}]) == ["look:\n[image_url]\n[part]"]


def test_what_was_asked_is_bounded_as_a_whole() -> None:
    half = "é" * (SETTLED_TEXT_MAX // 4)
    kept = texts(said(f"user: {half}", f"user: x{half}", "user: late"))
    assert [len(text.encode()) for text in kept] == [len(half.encode()), SETTLED_TEXT_MAX // 2 - 1]
    assert sum(len(text.encode()) for text in kept) <= SETTLED_TEXT_MAX


def test_a_job_outside_of_conversations_reports_no_words() -> None:
    def settlement(**members: str) -> Settlement:
        return settlement_of(
            head(**members),
            ended("failed"),
            engine="vllm",
            node="n",
            first_token_at=None,
            ended_at=NOW,
        )

    assert settlement().asked == []
    assert session_of(head()) is None
    for name in ("session_id", "conversation_id"):
        reported = settlement(**{name: "c"})
        assert (reported.session_id, reported.asked) == ("c", [Said(role="user", text="hi")])
