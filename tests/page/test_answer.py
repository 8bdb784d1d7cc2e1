"""A question is asked and its answer shown."""

from __future__ import annotations

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
