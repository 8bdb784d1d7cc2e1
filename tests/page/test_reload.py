"""What a reload, a second tab and a closed page leave of an answer that was under way."""

from __future__ import annotations

from typing import Any

from playwright.async_api import expect

from tests.page.chat import Chat
from tests.support.scripted_wire import ScriptedWire


async def test_a_reload_in_mid_answer_goes_on_from_the_stored_cursor(
    chat: Chat, wire: ScriptedWire
) -> None:
    await chat.ask("Long")
    job = await wire.job()
    await job.say("one ", "two ", "three ")
    await expect(chat.prose).to_contain_text("three")
    await chat.page.reload()
    await expect(chat.prose).to_contain_text("three")
    assert (await wire.request("/v1/stream", 2)).cursor == 3
    await job.say("four")
    await job.complete()
    await chat.finished()
    await expect(chat.prose).to_have_text("one two three four")
    assert len(wire.of("/v1/jobs")) == 1


async def test_a_finished_answer_is_there_after_a_reload_and_asks_nothing(
    chat: Chat, wire: ScriptedWire
) -> None:
    await chat.ask("Short")
    job = await wire.job()
    await job.say("done")
    await job.complete()
    await chat.finished()
    await chat.page.reload()
    await chat.ready()
    await expect(chat.prose).to_have_text("done")
    await expect(chat.answer.locator(".facts")).to_contain_text("42 tokens/s")
    assert len(wire.of("/v1/stream")) == 1


async def test_an_answer_that_ended_while_the_page_was_away(chat: Chat, wire: ScriptedWire) -> None:
    await chat.ask("Long")
    job = await wire.job()
    await job.say("one ")
    await expect(chat.prose).to_contain_text("one")
    await chat.page.goto("about:blank")
    await job.say("two")
    await job.complete()
    await chat.page.goto(wire.url)
    await chat.finished()
    await expect(chat.prose).to_have_text("one two")


async def test_another_conversation_does_not_stop_the_answer(
    chat: Chat, wire: ScriptedWire
) -> None:
    await chat.ask("First")
    first = await wire.job()
    await first.say("begun ")
    await expect(chat.prose).to_contain_text("begun")
    await chat.page.get_by_role("button", name="New conversation").click()
    await expect(chat.answers).to_have_count(0)
    await chat.ask("Second")
    second = await wire.job(2)
    await second.say("other")
    await second.complete()
    await chat.finished()
    await first.say("and ended")
    await first.complete()
    await chat.chats.get_by_role("button", name="First", exact=True).click()
    await chat.finished()
    await expect(chat.prose).to_have_text("begun and ended")
    assert len(wire.of("/v1/jobs")) == 2


async def test_many_answers_share_few_connections(chat: Chat, wire: ScriptedWire) -> None:
    for number in range(1, 5):
        await chat.page.get_by_role("button", name="New conversation").click()
        await chat.ask(f"Question {number}")
        job = await wire.job(number)
        await job.say(f"answer {number}")
        await expect(chat.prose).to_contain_text(f"answer {number}")
    for job in wire.jobs.values():
        await job.complete()
    for number in range(1, 5):
        await chat.chats.get_by_role("button", name=f"Question {number}", exact=True).click()
        await chat.finished()
        await expect(chat.prose).to_have_text(f"answer {number}")


async def test_two_tabs_see_one_answer(chat: Chat, wire: ScriptedWire) -> None:
    other = Chat(await chat.page.context.new_page())
    await other.page.goto(wire.url)
    await other.ready()
    await chat.ask("Both")
    job = await wire.job()
    await job.say("seen ")
    # Until then the first tab may not have heard of its job.
    await expect(chat.prose).to_contain_text("seen")
    await other.chats.get_by_role("button", name="Both").first.click()
    await expect(other.prose).to_contain_text("seen")
    await job.say("by both")
    await job.complete()
    for page in (chat, other):
        await page.finished()
        await expect(page.prose).to_have_text("seen by both")
    assert len(wire.of("/v1/jobs")) == 1
    assert other.complaints == []


async def test_text_and_cursor_are_stored_as_one(chat: Chat, wire: ScriptedWire) -> None:
    await chat.ask("Long")
    job = await wire.job()
    for number in range(60):
        await job.say(f"{number} ")
    await expect(chat.prose).to_contain_text("59")
    await chat.page.evaluate("() => dispatchEvent(new PageTransitionEvent('pagehide'))")
    stored: dict[str, Any] = (await chat.stored())[0]
    assert stored["cursor"] == 60
    assert stored["text"] == "".join(f"{number} " for number in range(60))
    await job.complete()
    await chat.finished()
