"""The page without a mouse."""

from __future__ import annotations

from playwright.async_api import expect

from tests.page.chat import Chat
from tests.support.scripted_wire import ScriptedWire

# Name of what has the focus, whether it is outlined, and whether the focus has left the page.
FOCUSED = """() => { const e = document.activeElement;
    const name = e.getAttribute("aria-label") || e.textContent.trim() || e.id;
    return [name, getComputedStyle(e).outlineStyle !== "none", e === document.body]; }"""


async def test_enter_sends_and_shift_enter_makes_a_line(chat: Chat, wire: ScriptedWire) -> None:
    await expect(chat.question).to_be_focused()
    await chat.page.keyboard.type("one")
    await chat.page.keyboard.press("Shift+Enter")
    await chat.page.keyboard.type("two")
    await chat.page.keyboard.press("Enter")
    assert (await wire.request("/v1/jobs")).body["messages"][0]["content"] == "one\ntwo"
    await expect(chat.question).to_have_value("")
    await expect(chat.question).to_be_focused()


async def test_nothing_is_sent_without_words_or_while_an_answer_runs(
    chat: Chat, wire: ScriptedWire
) -> None:
    await chat.question.fill("  \n ")
    await expect(chat.send).to_be_disabled()
    await chat.question.press("Enter")
    await chat.ask("one")
    await wire.job()
    await chat.question.fill("two")
    await chat.question.press("Enter")
    await expect(chat.question).to_have_value("two")
    assert len(wire.of("/v1/jobs")) == 1


async def test_escape_stops(chat: Chat, wire: ScriptedWire) -> None:
    await chat.ask("Long")
    job = await wire.job()
    await job.say("on and on")
    await expect(chat.prose).to_contain_text("on and on")
    await chat.page.keyboard.press("Escape")
    await chat.finished()
    await expect(chat.answer).to_contain_text("You stopped this answer.")


async def test_everything_is_reached_by_tab_and_seen_to_be(chat: Chat, wire: ScriptedWire) -> None:
    await chat.ask("Code")
    job = await wire.job()
    await job.say("```py\nx = 1\n```\n")
    await job.complete()
    await chat.finished()
    reached: list[str] = []
    # From the top of the page through all of it, until it comes round.
    await chat.page.get_by_role("link", name="Skip to the question").focus()
    while True:
        name, outlined, left = await chat.page.evaluate(FOCUSED)
        if left:
            break
        # The question shows it by its frame.
        assert outlined or name == "Question", f"{name} shows no focus"
        reached.append(name)
        await chat.page.keyboard.press("Tab")
    for name in (
        "Skip to the question",
        "New conversation",
        "Rename Code",
        "Delete Code",
        "Connection: Ready",
        "Copy code",
        "Copy answer",
        "Regenerate answer",
        "Question",
    ):
        assert name in reached


async def test_rename_by_keyboard(chat: Chat, wire: ScriptedWire) -> None:
    await chat.ask("Old name")
    await (await wire.job()).complete()
    await chat.finished()
    await chat.page.get_by_role("button", name="Rename Old name").focus()
    await chat.page.keyboard.press("Enter")
    field = chat.page.get_by_role("textbox", name="New name")
    await expect(field).to_be_focused()
    await field.fill("New name")
    await field.press("Enter")
    await expect(chat.chats.first).to_contain_text("New name")
    await expect(chat.page.get_by_role("heading", level=1)).to_have_text("New name")
    await expect(chat.chats.get_by_role("button", name="New name", exact=True)).to_be_focused()
    await chat.page.get_by_role("button", name="Rename New name").press("Enter")
    await field.fill("Other")
    await field.press("Escape")
    await expect(chat.chats.first).to_contain_text("New name")


async def test_delete_asks_first_and_can_be_refused(chat: Chat, wire: ScriptedWire) -> None:
    await chat.ask("Doomed")
    await (await wire.job()).complete()
    await chat.finished()
    remove = chat.page.get_by_role("button", name="Delete Doomed")
    await remove.focus()
    await remove.press("Enter")
    dialog = chat.page.get_by_role("dialog", name="Delete this conversation?")
    await expect(dialog).to_be_visible()
    await chat.page.keyboard.press("Escape")
    await expect(dialog).to_have_count(0)
    await expect(chat.chats).to_have_count(1)
    await remove.press("Enter")
    await dialog.get_by_role("button", name="Delete").press("Enter")
    await expect(chat.chats).to_have_count(0)
    await expect(chat.question).to_be_focused()
    assert await chat.stored() == []
