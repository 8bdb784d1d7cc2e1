"""The page for who listens to it: landmarks, names, and announcements."""

from __future__ import annotations

from playwright.async_api import expect

from tests.page.chat import Chat
from tests.support.scripted_wire import ScriptedWire

# Everything that can be operated must have a name; the browser's own tree says what it is.
NAMELESS = """() => {
    const words = (element) => element?.textContent.trim();
    const name = (e) => e.getAttribute("aria-label") || words(e.labels?.[0]) || words(e);
    return [...document.querySelectorAll("button, a[href], input, select, textarea, summary")]
        .filter((element) => element.checkVisibility() && !name(element))
        .map((element) => element.outerHTML);
}"""
DOUBLE_IDS = """() => {
    const ids = [...document.querySelectorAll("[id]")].map((element) => element.id);
    return ids.filter((id, i) => ids.indexOf(id) !== i);
}"""
RECORD = """() => {
    const region = document.getElementById("announcer");
    window.told = [];
    const note = () => region.textContent && window.told.push(region.textContent);
    new MutationObserver(note).observe(region, { childList: true });
}"""


async def test_landmarks_and_names(chat: Chat, wire: ScriptedWire) -> None:
    await chat.ask("Hello")
    job = await wire.job()
    await job.say("```py\nx\n```\n\n| a |\n| - |\n| 1 |\n")
    await job.append("tool_call", id="1", name="look", arguments={})
    await job.complete()
    await chat.finished()
    page = chat.page
    for role, name in (("navigation", "Conversations"), ("main", "Hello"), ("form", "Ask")):
        await expect(page.get_by_role(role, name=name)).to_be_visible()  # type: ignore[arg-type]
    await expect(page.get_by_role("banner")).to_be_visible()
    await expect(page.get_by_role("heading", level=1)).to_have_count(1)
    await expect(page.get_by_role("article", name="You")).to_have_count(1)
    await expect(page.get_by_role("article", name="Answer from rice-small")).to_have_count(1)
    await expect(page.get_by_role("group", name="Code, py")).to_be_visible()
    await expect(page.get_by_role("group", name="Table")).to_be_visible()
    assert await page.locator("html").get_attribute("lang") == "en"
    assert await page.evaluate(NAMELESS) == []
    assert await page.evaluate(DOUBLE_IDS) == []


async def test_start_and_end_are_announced_and_tokens_are_not(
    chat: Chat, wire: ScriptedWire
) -> None:
    await chat.page.evaluate(RECORD)
    await chat.ask("Hello")
    job = await wire.job()
    await job.say(*(f"word{number} " for number in range(30)))
    await expect(chat.prose).to_contain_text("word29")
    await job.complete()
    await chat.finished()
    await expect(chat.page.get_by_role("status")).to_contain_text("Answer finished")
    told = await chat.page.evaluate("() => window.told")
    assert [line.split(":")[0] for line in told] == ["Answer started.", "Answer finished"]
    assert "word0 word1" in told[1]
    await expect(chat.page.locator("#scroller [aria-live], #scroller [role=log]")).to_have_count(0)


async def test_errors_are_alerts_and_the_open_conversation_is_marked(
    chat: Chat, wire: ScriptedWire
) -> None:
    await chat.ask("Hello")
    job = await wire.job()
    await job.append("job_error", code="engine_error", message="No.", retryable=False, usage=None)
    await expect(chat.page.get_by_role("alert")).to_contain_text("No.")
    await expect(chat.chats.get_by_role("button", name="Hello", exact=True)).to_have_attribute(
        "aria-current", "page"
    )
