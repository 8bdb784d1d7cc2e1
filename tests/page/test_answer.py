"""A question is asked and its answer shown."""

from __future__ import annotations

from typing import Any

from playwright.async_api import expect

from tests.page.chat import Chat
from tests.support.scripted_wire import ScriptedWire


async def test_an_answer_streams_and_its_figures_are_shown(chat: Chat, wire: ScriptedWire) -> None:
    await chat.ask("What is rice?")
    job = await wire.job()
    await expect(chat.answer).to_have_attribute("aria-busy", "true")
    await job.say("Rice is ", "a **grain**", ".")
    await expect(chat.prose).to_contain_text("Rice is a grain.")
    await expect(chat.stop).to_be_visible()
    await job.complete()
    await chat.finished()
    await expect(chat.prose.locator("strong")).to_have_text("grain")
    await expect(chat.answer.locator(".facts")).to_contain_text("42 tokens/s")
    await expect(chat.answer.locator(".facts")).to_contain_text("first token")
    await expect(chat.send).to_be_visible()


async def test_models_that_come_late_are_waited_for(new_chat: Any, wire: ScriptedWire) -> None:
    wire.models = []
    chat = await new_chat(ready=False)
    await wire.request("/v1/models", 2)
    wire.models = ["late"]
    await chat.ready()
    await expect(chat.page.get_by_role("combobox", name="Model")).to_have_value("late")


async def test_thinking_tools_and_notices_stand_beside_the_answer(
    chat: Chat, wire: ScriptedWire
) -> None:
    await chat.ask("Think")
    job = await wire.job()
    await job.append("notice", code="queued", message="Waiting for a place.")
    await job.append("reasoning", reasoning="First this, ", ts=1.0)
    await expect(chat.answer.locator("summary")).to_have_text("Thinking…")
    await job.append("reasoning", reasoning="then that.", ts=1.1)
    await job.append("tool_call", id="a", name="look_up", arguments={"word": "rice"})
    await expect(chat.answer.locator(".tool summary")).to_have_text("look_up running…")
    await job.append("tool_result", id="a", name="look_up", ok=False, content="nothing")
    await job.append("something_new", text="an event of a later version")
    await job.say("So.")
    await job.complete("length")
    await chat.finished()
    await expect(chat.answer.locator(".thinking summary")).to_have_text("Thought")
    await expect(chat.answer.locator(".thought")).to_be_hidden()
    await chat.answer.locator(".thinking summary").click()
    await expect(chat.answer.locator(".thought")).to_have_text("First this, then that.")
    await expect(chat.answer.locator(".tool summary")).to_have_text("look_up failed")
    await expect(chat.answer).to_contain_text("Waiting for a place.")
    await expect(chat.answer).to_contain_text("Ended at the length limit.")
    await expect(chat.prose).to_have_text("So.")


async def test_answers_and_code_are_copied(new_chat: Any, wire: ScriptedWire) -> None:
    chat = await new_chat(permissions=["clipboard-read", "clipboard-write"])
    await chat.ask("Code")
    job = await wire.job()
    await job.say("Do **this**:\n\n```py\nx = 1\n```\n")
    await job.complete()
    await chat.finished()
    for name, text in (
        ("Copy code", "x = 1\n"),
        ("Copy answer", "Do **this**:\n\n```py\nx = 1\n```\n"),
        ("Copy question", "Code"),
    ):
        await chat.page.get_by_role("button", name=name).click()
        await expect(chat.page.get_by_role("status")).to_have_text("Copied.")
        assert await chat.page.evaluate("() => navigator.clipboard.readText()") == text


async def test_a_full_browser_is_said(chat: Chat, wire: ScriptedWire) -> None:
    await chat.ask("Full")
    job = await wire.job()
    await chat.page.evaluate(
        "() => { Storage.prototype.setItem = () => { throw new DOMException('full'); }; }"
    )
    await job.say("still shown")
    await job.complete()
    await chat.finished()
    await expect(chat.prose).to_have_text("still shown")
    await expect(chat.page.get_by_role("alert")).to_contain_text("no room left")
