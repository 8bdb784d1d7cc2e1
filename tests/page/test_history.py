"""Conversations of all of a person's devices, and the page without them."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.async_api import Page, expect

from tests.page.chat import Chat
from tests.page.modules import run_module
from tests.support.scripted_account import quota
from tests.support.scripted_wire import ScriptedWire

pytestmark = pytest.mark.faults


@pytest.fixture
def kept(wire: ScriptedWire) -> ScriptedWire:
    """A server that has two conversations from other devices."""
    wire.conversations.keep("rice", "How is rice grown?", ("How is rice grown?", "In paddies."))
    wire.conversations.keep("tea", "Tea", ("Which tea?", "Green tea."), at=2e9)
    return wire


async def look_again(chat: Chat) -> None:
    """As if the person came back to the window."""
    await chat.page.evaluate("() => document.dispatchEvent(new Event('visibilitychange'))")


async def opened(chat: Chat, title: str) -> None:
    await chat.chats.get_by_role("button", name=title, exact=True).click()


async def answered(chat: Chat, wire: ScriptedWire, question: str, number: int = 1) -> str:
    """Asks, is answered, and the answer is settled; returns the conversation's id."""
    await chat.ask(question)
    job = await wire.job(number)
    await job.say("said")
    await job.complete()
    await chat.finished()
    session: str = wire.of("/v1/jobs")[-1].body["session_id"]
    if session not in wire.conversations:
        wire.conversations.keep(session, question, at=3e9)
    wire.conversations.add(session, job.job_id, question, "said")
    return session


async def test_conversations_of_other_devices_are_listed_and_opened(
    new_chat: Any, kept: ScriptedWire
) -> None:
    chat: Chat = await new_chat()
    await expect(chat.chats).to_have_count(2)
    await expect(chat.chats.first).to_contain_text("Tea")
    await opened(chat, "How is rice grown?")
    await expect(chat.prose).to_have_text("In paddies.")
    await expect(chat.page.get_by_role("heading", level=1)).to_have_text("How is rice grown?")
    await chat.ask("And wheat?")
    body = (await kept.request("/v1/jobs")).body
    assert body["session_id"] == "rice"
    assert [message["content"] for message in body["messages"]] == [
        "How is rice grown?",
        "In paddies.",
        "And wheat?",
    ]
    job = await kept.job()
    await job.complete()
    await chat.finished()


async def test_what_was_said_elsewhere_joins_what_is_here(
    new_chat: Any, wire: ScriptedWire
) -> None:
    chat: Chat = await new_chat()
    session = await answered(chat, wire, "First")
    wire.conversations.add(session, "elsewhere", "Second", "From the phone.")
    await look_again(chat)
    await expect(chat.prose).to_have_text("From the phone.")
    await expect(chat.answers).to_have_count(2)
    await chat.page.reload()
    await expect(chat.answers).to_have_count(2)


async def test_a_new_name_is_the_name_everywhere(new_chat: Any, kept: ScriptedWire) -> None:
    chat: Chat = await new_chat()
    await chat.page.get_by_role("button", name="Rename Tea").focus()
    await chat.page.keyboard.press("Enter")
    field = chat.page.get_by_role("textbox", name="New name")
    await field.fill("Green tea")
    await field.press("Enter")
    await expect(chat.chats.first).to_contain_text("Green tea")
    seen = await kept.request("/v1/sessions/tea")
    assert (seen.method, seen.body) == ("PATCH", {"title": "Green tea"})
    await chat.page.reload()
    await expect(chat.chats.first).to_contain_text("Green tea")


async def test_a_name_that_was_given_elsewhere_is_shown(new_chat: Any, wire: ScriptedWire) -> None:
    chat: Chat = await new_chat()
    session = await answered(chat, wire, "Old name")
    wire.conversations.change("PATCH", session, {"title": "<b>New</b> name"})
    await look_again(chat)
    await expect(chat.chats.first).to_contain_text("<b>New</b> name")
    await expect(chat.page.get_by_role("heading", level=1)).to_have_text("<b>New</b> name")


async def test_a_name_waits_until_the_conversation_is_there(
    new_chat: Any, wire: ScriptedWire
) -> None:
    wire.control_plane = False
    chat: Chat = await new_chat()
    session = await answered(chat, wire, "Old name")
    await chat.page.get_by_role("button", name="Rename Old name").press("Enter")
    await chat.page.get_by_role("textbox", name="New name").fill("Mine")
    await chat.page.keyboard.press("Enter")
    wire.control_plane = True
    await look_again(chat)
    await wire.request(f"/v1/sessions/{session}", 2)
    await expect(chat.chats.first).to_contain_text("Mine")
    assert wire.conversations.title(session) == "Mine"


async def test_what_is_deleted_here_is_deleted_everywhere(
    new_chat: Any, kept: ScriptedWire
) -> None:
    chat: Chat = await new_chat()
    await chat.page.get_by_role("button", name="Delete Tea").focus()
    await chat.page.keyboard.press("Enter")
    dialog = chat.page.get_by_role("dialog", name="Delete this conversation?")
    await dialog.get_by_role("button", name="Delete").press("Enter")
    await expect(chat.chats).to_have_count(1)
    assert "tea" not in kept.conversations


async def test_a_deletion_that_fails_says_so_and_deletes_nothing(
    new_chat: Any, kept: ScriptedWire
) -> None:
    chat: Chat = await new_chat()
    await expect(chat.chats).to_have_count(2)
    kept.control_plane = False
    await chat.page.get_by_role("button", name="Delete Tea").press("Enter")
    await chat.page.get_by_role("dialog").get_by_role("button", name="Delete").press("Enter")
    await expect(chat.page.get_by_role("alert")).to_contain_text("still there")
    await expect(chat.chats).to_have_count(2)


async def test_a_deleted_conversation_that_settles_late_is_deleted_again(
    new_chat: Any, wire: ScriptedWire
) -> None:
    chat: Chat = await new_chat()
    await chat.ask("Doomed")
    job = await wire.job()
    session = wire.of("/v1/jobs")[-1].body["session_id"]
    await chat.page.get_by_role("button", name="Delete Doomed").press("Enter")
    await chat.page.get_by_role("dialog").get_by_role("button", name="Delete").press("Enter")
    await expect(chat.chats).to_have_count(0)
    wire.conversations.keep(session, "Doomed", ("Doomed", job.text))
    await look_again(chat)
    await wire.request(f"/v1/sessions/{session}")
    await expect(chat.chats).to_have_count(0)
    assert session not in wire.conversations


async def test_what_was_deleted_elsewhere_goes_here_too(new_chat: Any, wire: ScriptedWire) -> None:
    chat: Chat = await new_chat()
    session = await answered(chat, wire, "Gone")
    await look_again(chat)
    await wire.request(f"/v1/sessions/{session}")
    wire.conversations.remove(session)
    await look_again(chat)
    await expect(chat.chats).to_have_count(0)
    await expect(chat.answers).to_have_count(0)
    assert await chat.stored() == []


async def test_the_page_goes_on_without_the_control_plane(
    new_chat: Any, kept: ScriptedWire
) -> None:
    kept.control_plane = False
    chat: Chat = await new_chat()
    note = chat.page.locator("#history-note")
    await expect(note).to_contain_text("History is not available now")
    await chat.ask("Still there?")
    job = await kept.job()
    await job.say("Yes.")
    await job.complete()
    await chat.finished()
    await expect(chat.prose).to_have_text("Yes.")
    kept.control_plane = True
    await look_again(chat)
    await expect(note).to_be_empty()
    await expect(chat.chats).to_have_count(3)


async def test_a_conversation_that_cannot_be_loaded(new_chat: Any, kept: ScriptedWire) -> None:
    chat: Chat = await new_chat()
    await expect(chat.chats).to_have_count(2)
    kept.control_plane = False
    await opened(chat, "Tea")
    await expect(chat.page.get_by_role("alert")).to_contain_text("cannot be shown now")
    await chat.ask("Half of a conversation must not be asked")
    assert kept.of("/v1/jobs") == []
    kept.control_plane = True
    await opened(chat, "Tea")
    await expect(chat.prose).to_have_text("Green tea.")


async def test_a_long_list_comes_in_pages(new_chat: Any, wire: ScriptedWire) -> None:
    for number in range(130):
        wire.conversations.keep(f"c{number}", f"Talk {number}", ("q", "a"), at=1e9 + number)
    chat: Chat = await new_chat()
    await expect(chat.chats).to_have_count(100)
    await chat.page.get_by_role("button", name="Older conversations").click()
    await expect(chat.chats).to_have_count(130)
    await expect(chat.chats.last).to_contain_text("Talk 0")
    await expect(chat.page.get_by_role("button", name="Older conversations")).to_be_hidden()
    await look_again(chat)
    await wire.request("/v1/sessions", 3)
    await expect(chat.chats).to_have_count(130)


async def test_a_long_conversation_is_loaded_whole(new_chat: Any, wire: ScriptedWire) -> None:
    pairs = [(f"question {number}", f"answer {number}") for number in range(120)]
    wire.conversations.keep("long", "Long", *pairs)
    chat: Chat = await new_chat()
    await opened(chat, "Long")
    await expect(chat.answers).to_have_count(120)
    await expect(chat.answers.first).to_contain_text("answer 0")


async def test_ends_are_shown_as_they_were(new_chat: Any, wire: ScriptedWire) -> None:
    wire.conversations.keep("ends", "Ends")
    for outcome, code in (("cancelled", "quota"), ("failed", "engine_error"), ("lost", "stop")):
        wire.conversations.add("ends", outcome, "q", "half", outcome=outcome, code=code)
    chat: Chat = await new_chat()
    await opened(chat, "Ends")
    for number, words in enumerate(["quota is used up", "This answer failed.", "was not kept"]):
        await expect(chat.answers.nth(number)).to_contain_text(words)


async def test_an_answer_that_was_replaced_does_not_come_back(
    new_chat: Any, wire: ScriptedWire
) -> None:
    chat: Chat = await new_chat()
    session = await answered(chat, wire, "Again")
    await chat.page.get_by_role("button", name="Regenerate answer").click()
    job = await wire.job(2)
    await job.say("better")
    await job.complete()
    await chat.finished()
    wire.conversations.add(session, job.job_id, "Again", "better")
    await look_again(chat)
    await wire.request(f"/v1/sessions/{session}")
    await expect(chat.answers).to_have_count(1)
    await expect(chat.prose).to_have_text("better")


@pytest.mark.parametrize("hostile", ["<img src=x onerror=alert(1)>", "[x](javascript:alert(1))"])
async def test_titles_and_texts_of_the_server_are_text(
    new_chat: Any, wire: ScriptedWire, hostile: str
) -> None:
    wire.conversations.keep("bad", hostile, (hostile, hostile))
    chat: Chat = await new_chat()
    await opened(chat, hostile)
    await expect(chat.answers).to_have_count(1)
    found = chat.page.locator("[onerror], a[href^='javascript'], #chats img, h1 img")
    await expect(found).to_have_count(0)


async def test_the_quota_is_shown_where_there_is_one(new_chat: Any, wire: ScriptedWire) -> None:
    wire.quota = quota(requests_day=100, tokens_month=1_000_000)
    chat: Chat = await new_chat()
    line = chat.page.get_by_text("97 requests left today")
    await expect(line).to_be_visible()
    await line.click()
    await expect(chat.page.get_by_text("999,997 of 1,000,000")).to_be_visible()
    await expect(chat.page.get_by_text("4 of 5")).to_be_visible()


async def test_without_limits_no_quota_is_shown(new_chat: Any, wire: ScriptedWire) -> None:
    chat: Chat = await new_chat()
    await wire.request("/v1/quota")
    await expect(chat.page.locator("#quota")).to_be_hidden()


async def test_a_sign_in_is_renewed_at_half_its_life(lab: Page) -> None:
    script = """
        const told = [];
        let now = 0;
        const renewal = new module.Renewal({
            look: async () => ({ user_id: "rin", expires_at: (now + 4 * 3600_000) / 1000 }),
            renew: async () => told.push("renewed"),
            onWho: (user) => told.push(user),
            now: () => now,
        });
        await renewal.start();
        for (const hours of [1, 1.9, 2.1, 3, 4.2]) {
            now = hours * 3600_000;
            renewal.nudge();
            await new Promise((resolve) => setTimeout(resolve));
            told.push(hours);
        }
        renewal.stop();
        return told;
    """
    assert await run_module(lab, "core/renewal.js", script) == [
        "rin", 1, 1.9, "renewed", "rin", 2.1, 3, "renewed", "rin", 4.2,
    ]  # fmt: skip


async def test_a_server_that_renews_nothing_is_asked_once(lab: Page) -> None:
    script = """
        let asked = 0;
        let now = 0;
        const renewal = new module.Renewal({
            look: async () => ({ user_id: "rin", expires_at: 7200 }),
            renew: async () => { asked += 1; throw { retryable: false, status: 404 }; },
            onWho: () => {},
            now: () => now,
        });
        await renewal.start();
        for (const hours of [1.1, 1.5, 1.9]) {
            now = hours * 3600_000;
            renewal.nudge();
            await new Promise((resolve) => setTimeout(resolve));
        }
        return asked;
    """
    assert await run_module(lab, "core/renewal.js", script) == 1
