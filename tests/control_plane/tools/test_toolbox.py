from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from contracts.tools import ARGUMENTS_MAX, Invocation, OfferedFunction, ToolAnswer
from control_plane.policy_document import CalculatorTool, HttpTool, McpTool, TimeTool, Tool
from control_plane.tools import toolbox as module
from control_plane.tools.base import Call, Outcome, ToolError
from control_plane.tools.toolbox import Toolbox
from tests.control_plane.tools.test_mcp import MISBEHAVING
from tests.support.eventually import eventually_async
from tests.support.scripted_tool import ScriptedTool

NOW = 1_800_000_000.0
BUILT_IN: dict[str, Tool] = {"time": TimeTool(), "sum": CalculatorTool()}


class Heard:
    """Every call that was told of."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str, str, Outcome]] = []

    def called(
        self, tool: str, function: str, actor: str, outcome: Outcome, seconds: float
    ) -> None:
        assert seconds >= 0
        self.calls.append((tool, function, actor, outcome))


class Slow:
    """A tool that answers when it is told to."""

    def __init__(self, name: str, timeout_s: float = 30.0) -> None:
        self.functions = [OfferedFunction(name=name, description="", parameters={})]
        self.timeout_s = timeout_s
        self.open = asyncio.Event()
        self.begun = 0

    async def invoke(self, _: str, call: Call) -> str:
        self.begun += 1
        await self.open.wait()
        if "break" in call.arguments:
            raise RuntimeError("a fault of ours")
        if "fail" in call.arguments:
            raise ToolError("failed", "It did not work.")
        return "x" * call.arguments.get("much", 1)

    def start(self) -> None:
        """Nothing to begin."""

    async def aclose(self) -> None:
        """Nothing to end."""


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
async def box(heard: Heard) -> AsyncIterator[Toolbox]:
    box = Toolbox(heard, lambda: NOW, time.monotonic)
    box.load(BUILT_IN)
    yield box
    await box.aclose()


@pytest.fixture
def slow(box: Toolbox, monkeypatch: pytest.MonkeyPatch) -> Slow:
    """A tool called `slow`, in place of what the policy would say."""
    slow = Slow("slow")
    monkeypatch.setitem(box._tools, "slow", slow)
    return slow


def asked(arguments: Any = None, call_id: str = "c1", job: str = "j1") -> Invocation:
    return Invocation(job_id=job, id=call_id, arguments={} if arguments is None else arguments)


async def test_the_built_in_tools_answer(box: Toolbox, heard: Heard) -> None:
    told = (await box.invoke("time", asked({"zone": "Europe/Berlin"}), "u")).answer
    assert told == ToolAnswer(True, "Friday, 2027-01-15T09:00:00+01:00 (Europe/Berlin)")
    told = (await box.invoke("sum", asked('{"expression": "6 * 7"}'), "u")).answer
    assert told == ToolAnswer(True, "42")
    assert heard.calls == [("time", "time", "u", "ok"), ("sum", "sum", "u", "ok")]


@pytest.mark.parametrize(
    ("function", "arguments", "told"),
    [
        ("time", {"zone": "../etc/passwd"}, "No time zone"),
        ("time", {"zone": "Nowhere/X"}, "No time zone"),
        ("time", {"zone": "a\0b"}, "No time zone"),
        ("time", {"zone": "x" * 65}, "do not fit"),
        ("time", {"place": "x"}, "do not fit"),
        ("sum", {}, "expression"),
        ("sum", {"expression": "import os"}, "not an arithmetic"),
        ("sum", "{not json", "not valid JSON"),
        ("sum", "[1]", "JSON object"),
        ("sum", [1], "JSON object"),
        ("sum", "[" * 100_000, "bytes at most"),
        ("sum", "[" * 60_000, "not valid JSON"),
        ("sum", {"expression": "1" * ARGUMENTS_MAX}, "bytes at most"),
    ],
)
async def test_bad_arguments_are_explained(
    box: Toolbox, heard: Heard, function: str, arguments: Any, told: str
) -> None:
    answer = (await box.invoke(function, asked(arguments), "u")).answer
    assert not answer.ok
    assert told in answer.content
    assert heard.calls == [(function, function, "u", "invalid")]


async def test_arguments_of_nothing_are_none(box: Toolbox) -> None:
    assert (await box.invoke("time", asked(" "), "u")).answer.content.endswith("(UTC)")


async def test_what_nobody_offers_cannot_be_called(box: Toolbox) -> None:
    with pytest.raises(KeyError):
        await box.invoke("weather", asked(), "u")


@pytest.mark.parametrize(
    ("arguments", "outcome", "told"),
    [({"fail": 1}, "failed", "It did not work."), ({"break": 1}, "failed", "The tool broke.")],
)
async def test_a_tool_that_breaks_breaks_nothing_else(
    box: Toolbox, heard: Heard, slow: Slow, arguments: Any, outcome: Outcome, told: str
) -> None:
    slow.open.set()
    answer = (await box.invoke("slow", asked(arguments), "u")).answer
    assert (answer.ok, answer.content) == (False, told)
    assert heard.calls[-1][-1] == outcome


async def test_a_tool_that_never_returns_times_out(
    box: Toolbox, heard: Heard, slow: Slow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_SLACK_S", 0.0)
    slow.timeout_s = 0.05
    answer = (await box.invoke("slow", asked(), "u")).answer
    assert (answer.ok, answer.content) == (False, "The tool did not answer in time.")
    assert heard.calls == [("slow", "slow", "u", "timeout")]


async def test_a_call_that_is_repeated_runs_once(box: Toolbox, heard: Heard, slow: Slow) -> None:
    first = asyncio.create_task(box.invoke("slow", asked(), "u"))
    await eventually_async(lambda: slow.begun == 1)
    # The broker gives up, and asks again while it runs, and once more afterwards.
    first.cancel()
    second = asyncio.create_task(box.invoke("slow", asked(), "u"))
    slow.open.set()
    assert (await second).answer.ok
    assert (await box.invoke("slow", asked(), "u")).answer.ok
    assert slow.begun == 1
    for other in (asked(call_id="c2"), asked(job="j2"), asked({"much": 2})):
        await box.invoke("slow", other, "u")
    assert slow.begun == 4
    assert len(heard.calls) == 4


async def test_remembered_answers_are_bounded(
    box: Toolbox, slow: Slow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_KEPT_BYTES", 100)
    slow.open.set()
    for number in range(5):
        await box.invoke("slow", asked({"much": 40}, f"c{number}"), "u")
    await box.invoke("slow", asked({"much": 40}, "c4"), "u")
    assert slow.begun == 5
    await box.invoke("slow", asked({"much": 40}, "c0"), "u")
    assert slow.begun == 6


async def test_a_slow_tool_does_not_take_the_room_of_others(
    box: Toolbox, heard: Heard, slow: Slow
) -> None:
    calls = [
        asyncio.create_task(box.invoke("slow", asked(call_id=f"c{n}"), "u"))
        for n in range(module.CALLS_OF_ONE_MAX)
    ]
    await eventually_async(lambda: slow.begun == len(calls))
    refused = (await box.invoke("slow", asked(call_id="more"), "u")).answer
    assert not refused.ok
    assert heard.calls == [("slow", "slow", "u", "busy")]
    assert (await box.invoke("sum", asked({"expression": "1"}), "u")).answer.ok
    slow.open.set()
    assert all(result.answer.ok for result in await asyncio.gather(*calls))
    assert (await box.invoke("slow", asked(call_id="more"), "u")).answer.ok


async def test_tools_are_asked_for_by_name(box: Toolbox) -> None:
    box.load(BUILT_IN | {"docs": McpTool(command=MISBEHAVING, only=["echo", "pid"])})
    await eventually_async(lambda: len(box.offered()) == 4, within=20)
    everything = ["time", "sum", "docs"]
    assert box.names(everything) == ["time", "sum", "docs_echo", "docs_pid"]
    assert box.names(["none"]) == []

    def names(*wanted: str) -> list[str]:
        return [tool["function"]["name"] for tool in box.asked_for(wanted, everything)]

    assert names("time") == ["time"]
    assert names("docs", "docs_pid", "sum") == ["docs_echo", "docs_pid", "sum"]
    for wanted, permitted in (("none", everything), ("sum", ["time"]), ("docs_pid", ["sum"])):
        with pytest.raises(KeyError):
            box.asked_for([wanted], permitted)


async def test_a_policy_that_is_read_anew_keeps_what_is_the_same(
    box: Toolbox, server: ScriptedTool, tmp_path: Path
) -> None:
    docs = McpTool(command=MISBEHAVING, only=["pid"])
    page = HttpTool(url=f"{server.url}/x", allow=["127.0.0.1"])
    box.load(BUILT_IN | {"docs": docs, "page": page})
    await eventually_async(lambda: box.knows("docs_pid"), within=20)

    async def pid(call_id: str) -> str:
        return (await box.invoke("docs_pid", asked(call_id=call_id), "u")).content

    before = await pid("1")
    box.load({"docs": docs, "page": HttpTool(url=f"{server.url}/y", allow=["127.0.0.1"])})
    assert not box.knows("time")
    assert await pid("2") == before
    await box.invoke("page", asked(), "u")
    assert [one.path for one in server.asked] == ["/y"]
    box.load({"docs": docs}, tmp_path)
    await eventually_async(lambda: box.knows("docs_pid"), within=20)
    assert await pid("3") != before


async def test_a_tool_that_cannot_be_made_is_offered_to_nobody(
    box: Toolbox, caplog: pytest.LogCaptureFixture
) -> None:
    box.load(BUILT_IN | {"weather": HttpTool(openapi="none.yml", operation="x")})
    assert not box.knows("weather")
    assert box.knows("time")
    assert "none.yml" in caplog.text


async def test_the_end_of_the_box_is_the_end_of_its_calls(heard: Heard) -> None:
    box = Toolbox(heard, lambda: NOW, time.monotonic)
    hanging = McpTool(command=MISBEHAVING, only=["hang"])
    never = McpTool(command=[sys.executable, "-c", "import time; time.sleep(60)"])
    box.load({"bad": hanging, "never": never})
    await eventually_async(lambda: box.knows("bad_hang"), within=20)
    call = asyncio.create_task(box.invoke("bad_hang", asked(), "u"))
    await eventually_async(lambda: bool(box._running))
    async with asyncio.timeout(10):
        await box.aclose()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert box.offered() == []
