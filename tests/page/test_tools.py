"""Choosing tools for an answer, and seeing what came of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from playwright.async_api import Locator, expect

from tests.page.chat import Chat
from tests.support.scripted_wire import ScriptedWire

New = Callable[..., Awaitable[Chat]]


def tool(name: str, *models: str) -> dict[str, Any]:
    return {"name": name, "description": f"To {name}.", "parameters": {}, "models": list(models)}


@pytest.fixture
def tools(wire: ScriptedWire) -> None:
    """Two tools, one of them for the first model only."""
    wire.tools = [tool("time", "rice-small", "rice-large"), tool("sum", "rice-small")]


def picker(chat: Chat) -> Locator:
    return chat.page.locator("#tools summary")


def box(chat: Chat, name: str) -> Locator:
    return chat.page.get_by_role("group", name="Tools for").get_by_role("checkbox", name=name)


async def test_where_there_are_no_tools_nothing_is_shown(chat: Chat, wire: ScriptedWire) -> None:
    await wire.request("/v1/tools")
    await expect(picker(chat)).to_be_hidden()
    await chat.ask("hi")
    assert "tools" not in (await wire.request("/v1/jobs")).body


@pytest.mark.usefixtures("tools")
async def test_chosen_tools_go_with_the_question_and_are_remembered(
    new_chat: New, wire: ScriptedWire
) -> None:
    chat = await new_chat()
    await expect(picker(chat)).to_have_text("Tools")
    await picker(chat).click()
    await box(chat, "time").check()
    await expect(picker(chat)).to_have_text("Tools (1)")
    await chat.page.keyboard.press("Escape")
    await expect(box(chat, "time")).to_be_hidden()
    await chat.ask("What time is it?")
    assert (await wire.request("/v1/jobs")).body["tools"] == ["time"]
    await (await wire.job()).complete()
    await chat.finished()
    await chat.page.reload()
    await chat.ready()
    await expect(picker(chat)).to_have_text("Tools (1)")
    await chat.answer.get_by_role("button", name="Regenerate").click()
    assert (await wire.request("/v1/jobs", 2)).body["tools"] == ["time"]


@pytest.mark.usefixtures("tools")
async def test_only_the_models_own_tools_are_asked_for(new_chat: New, wire: ScriptedWire) -> None:
    chat = await new_chat()
    await picker(chat).click()
    await box(chat, "sum").check()
    await chat.page.get_by_role("combobox", name="Model").select_option("rice-large")
    await expect(picker(chat)).to_have_text("Tools")
    await chat.ask("hi")
    assert "tools" not in (await wire.request("/v1/jobs")).body
    await chat.page.get_by_role("combobox", name="Model").select_option("rice-small")
    await expect(picker(chat)).to_have_text("Tools (1)")


@pytest.mark.faults
@pytest.mark.usefixtures("tools")
async def test_a_question_that_is_sent_again_asks_for_the_same(
    new_chat: New, wire: ScriptedWire
) -> None:
    """The key stands for one body, whatever is chosen meanwhile."""
    chat = await new_chat()
    await picker(chat).click()
    await box(chat, "time").check()
    wire.lose_sends = 1
    await chat.ask("hi")
    await picker(chat).click()
    await box(chat, "time").uncheck()
    first = await wire.request("/v1/jobs")
    again = await wire.request("/v1/jobs", 2)
    assert (again.key, again.body) == (first.key, first.body)
    assert again.body["tools"] == ["time"]


async def test_calls_of_several_rounds_are_shown_each_with_its_result(
    chat: Chat, wire: ScriptedWire
) -> None:
    await chat.ask("hi")
    job = await wire.job()
    await job.append("tool_call", id="a", name="time", arguments="{}", server=True)
    await job.append("tool_call", id="b", name="sum", arguments='{"x": 1}', server=True)
    await job.append("tool_result", id="b", name="sum", ok=True, content="<b>2</b>")
    await expect(chat.answer.locator(".tool summary")).to_have_text(["time running…", "sum done"])
    await job.append("tool_result", id="a", name="time", ok=False, content="no")
    await job.append("tool_call", id="a_2", name="time", arguments="{}", server=True)
    await job.append("tool_result", id="a_2", name="time", ok=True, content="noon")
    lines = chat.answer.locator(".tool summary")
    await expect(lines).to_have_text(["time failed", "sum done", "time done"])
    await lines.nth(1).click()
    await expect(chat.answer.locator(".tool pre").nth(3)).to_have_text("<b>2</b>")
    await job.complete()
    await chat.finished()
    await chat.page.reload()
    await expect(chat.answer.locator(".tool summary")).to_have_text(
        ["time failed", "sum done", "time done"]
    )
