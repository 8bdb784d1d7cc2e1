from __future__ import annotations

import pytest

from stream_broker.engine_run import next_call
from stream_broker.engines.call import EngineCall
from stream_broker.engines.deltas import ToolCall
from stream_broker.events import Event, EventEncoder
from stream_broker.rounds import Rounds, name_of, spoken
from tests.stream_broker.building import JOB, token
from tests.stream_broker.tooling import schema


def events(*told: tuple[str, dict[str, object]]) -> list[Event]:
    encoder = EventEncoder(JOB)
    return [encoder.other(seq, name, body) for seq, (name, body) in enumerate(told, 1)]


def call(call_id: str, name: str = "time") -> tuple[str, dict[str, object]]:
    return "tool_call", {"id": call_id, "name": name, "arguments": "{}", "server": True}


def result(call_id: str, content: str = "x", *, ok: bool = True) -> tuple[str, dict[str, object]]:
    return "tool_result", {"id": call_id, "name": "time", "ok": ok, "content": content}


def say(text: str) -> tuple[str, dict[str, object]]:
    return "token", {"token": text, "ts": 1.0}


def test_a_log_without_tools_is_a_text() -> None:
    said = spoken([token(1, "a"), token(2, "b")])
    assert (said.messages, said.text) == ([], "ab")


def test_finished_rounds_are_messages_and_what_follows_is_the_text() -> None:
    log = events(
        say("let me "),
        say("see"),
        call("1"),
        call("2"),
        result("2", "two"),
        result("1", "no", ok=False),
        ("notice", {"code": "relay_moved"}),
        call("3"),
        result("3", "three"),
        say("it is"),
    )
    said = spoken(log)
    assert said.text == "it is"
    assert [(m["role"], m["content"]) for m in said.messages] == [
        ("assistant", "let me see"),
        ("tool", "Error: no"),
        ("tool", "two"),
        ("assistant", ""),
        ("tool", "three"),
    ]
    assert [c["id"] for c in said.messages[0]["tool_calls"]] == ["1", "2"]
    assert said.messages[1]["tool_call_id"] == "1"


def test_thoughts_are_not_part_of_the_conversation() -> None:
    said = spoken(events(("reasoning", {"reasoning": "hm"}), call("1"), result("1"), say("a")))
    assert said.messages[0]["content"] == ""


@pytest.mark.parametrize(
    ("granted", "own", "name", "ours"),
    [
        ((), (), "f", False),
        ((), ("f",), "g", False),
        (("time",), (), "time", True),
        (("time",), (), "invented", True),
        (("time",), ("mine",), "mine", False),
        (("time",), ("time",), "time", False),
        (("time", "sum"), ("time",), "time", False),
    ],
)
def test_who_answers_a_call(
    granted: tuple[str, ...], own: tuple[str, ...], name: str, *, ours: bool
) -> None:
    assert Rounds(granted, own, 8).is_ours(name) is ours


@pytest.mark.parametrize("given", ["", "call_0", "x" * 65])
def test_ids_that_engines_repeat_or_leave_out_are_made_their_own(given: str) -> None:
    rounds = Rounds(["time"], most=8)
    seen = set()
    for _ in range(4):
        named = rounds.named(ToolCall(given, "time", "{}"))
        rounds.add(named, ours=True)
        seen.add(named.id)
        assert 0 < len(named.id) <= 80
    assert len(seen) == 4


def test_a_round_ends_with_its_last_result() -> None:
    rounds = Rounds(["time"], most=1)
    for number in "12":
        rounds.add(ToolCall(number, "time", "{}"), ours=True)
    assert rounds.called
    assert not rounds.close("1")
    assert not rounds.close("1")
    assert not rounds.close("unheard of")
    assert rounds.close("2")
    assert (rounds.finished, rounds.used_up, rounds.called, rounds.over) == (1, True, False, False)


def test_a_round_with_calls_of_the_client_is_the_last() -> None:
    rounds = Rounds(["time"], ["mine"], most=8)
    rounds.add(ToolCall("1", "mine", "{}"), ours=False)
    rounds.add(ToolCall("2", "time", "{}"), ours=True)
    assert rounds.close("2")
    assert rounds.over


FIRST = EngineCall(model="m", messages=[{"role": "user", "content": "hi"}], max_tokens=9)


@pytest.mark.parametrize(
    ("choice", "later"),
    [
        (None, None),
        ("auto", "auto"),
        ("none", "none"),
        ("required", None),
        ({"type": "function", "function": {"name": "time"}}, None),
    ],
)
def test_no_tool_must_be_called_twice(choice: object, later: object) -> None:
    first = EngineCall(
        model="m",
        messages=[],
        max_tokens=9,
        tools=[schema("time")],
        tool_choice=choice,  # type: ignore[arg-type]
    )
    assert next_call(first, [], Rounds(["time"], most=8)).tool_choice == later


@pytest.mark.parametrize(
    ("own", "left", "choice"), [((), ["time"], "none"), (("mine",), ["mine"], None)]
)
def test_after_the_last_round_no_tool_of_the_policy_can_be_called(
    own: tuple[str, ...], left: list[str], choice: str | None
) -> None:
    tools = [*map(schema, own), schema("time")]
    first = EngineCall(model="m", messages=[], max_tokens=9, tools=tools)
    rounds = Rounds(["time"], own, most=1)
    rounds.add(ToolCall("1", "time", "{}"), ours=True)
    rounds.close("1")
    after = next_call(first, [{"role": "assistant"}], rounds)
    assert [name_of(tool) for tool in after.tools or ()] == left
    assert after.tool_choice == choice
    assert after.messages == [{"role": "assistant"}]


@pytest.mark.parametrize("tool", [{}, {"function": None}, {"function": {}}, {"type": "x"}])
def test_a_tool_without_a_name_has_an_empty_one(tool: dict[str, object]) -> None:
    assert name_of(tool) == ""
