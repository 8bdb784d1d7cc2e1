"""Narrow and wide, light and dark, with and without motion."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.async_api import expect

from tests.page.chat import Chat
from tests.support.scripted_wire import ScriptedWire

PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
WIDE = (
    "A" * 300
    + "\n\n```\n"
    + "b" * 400
    + "\n```\n\n| "
    + " | ".join("column" * 3 for _ in range(12))
    + " |\n|"
    + " - |" * 12
    + "\n"
)
# What reaches beyond the right edge, unless something around it scrolls by itself.
OVERFLOW = """() => {
    const page = document.documentElement;
    const over = (e) => e.getBoundingClientRect().right > innerWidth + 0.5;
    return [...document.querySelectorAll("#app *")]
        .filter((e) => e.checkVisibility({ visibilityProperty: true }) && over(e))
        .filter((e) => !e.parentElement.closest("pre, .table, #sidebar"))
        .map((e) => e.outerHTML.slice(0, 80))
        .concat(page.scrollWidth > page.clientWidth ? ["the page"] : []);
}"""
# The contrast of every visible text against the first opaque ground below it, as WCAG 2 counts it.
FAINT = """() => {
    const parse = (value) => {
        const parts = value.match(/[\\d.]+/g).map(Number);
        return parts.length < 4 ? [...parts, 1] : parts;
    };
    const linear = (c) => ((c /= 255) <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    const light = ([r, g, b]) =>
        0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
    const ground = (e) => {
        for (; e; e = e.parentElement) {
            const colour = parse(getComputedStyle(e).backgroundColor);
            if (colour[3] === 1) return colour;
        }
        return [255, 255, 255, 1];
    };
    const faint = [];
    const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    for (let node = walk.nextNode(); node; node = walk.nextNode()) {
        const e = node.parentElement;
        const seen = e.checkVisibility({ opacityProperty: true });
        if (!node.data.trim() || !seen || e.closest(":disabled, option")) continue;
        const [a, b] = [light(parse(getComputedStyle(e).color)), light(ground(e))];
        const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
        if (contrast < 4.5) faint.push([node.data.trim().slice(0, 40), contrast]);
    }
    return faint;
}"""
CODE = """Text `code` [link](https://example.org)

> quote

```python
def f(x): # why
    return 'a' + 1
```
"""


async def answered(chat: Chat, wire: ScriptedWire, text: str) -> None:
    await chat.ask("W" * 200)
    job = await wire.job()
    await job.append("reasoning", reasoning="R" * 300, ts=1.0)
    await job.append("notice", code="relay_moved", message="Another broker took over.")
    await job.append("tool_call", id="1", name="n" * 80, arguments={"a": "v" * 200})
    await job.say(text)
    await job.append(
        "job_error", code="engine_unreachable", message="m" * 200, retryable=True, usage=None
    )
    await chat.finished()


@pytest.mark.parametrize("width", [320, 390])
async def test_a_phone_never_scrolls_sideways(
    new_chat: Any, wire: ScriptedWire, width: int
) -> None:
    chat = await new_chat(**{**PHONE, "viewport": {"width": width, "height": 700}})
    await answered(chat, wire, WIDE)
    for summary in await chat.answer.locator("summary").all():
        await summary.click()
    assert await chat.page.evaluate(OVERFLOW) == []
    for name in ("Question", "Send"):
        box = await chat.page.get_by_label(name, exact=True).bounding_box()
        assert box is not None
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= width
        assert box["y"] + box["height"] <= 700
    size = await chat.send.bounding_box()
    assert size is not None
    assert min(size["width"], size["height"]) >= 44


async def test_the_drawer_takes_the_focus_and_gives_it_back(new_chat: Any) -> None:
    chat = await new_chat(**PHONE)
    page = chat.page
    opener = page.get_by_role("button", name="Conversations")
    await expect(page.get_by_role("navigation")).to_be_hidden()
    await opener.click()
    await expect(page.get_by_role("button", name="New conversation")).to_be_focused()
    await expect(page.get_by_role("navigation", name="Conversations")).to_be_in_viewport()
    assert await page.locator("#main").evaluate("(main) => main.inert")
    await page.keyboard.press("Escape")
    await expect(page.get_by_role("navigation")).to_be_hidden()
    await expect(opener).to_be_focused()


async def test_a_phones_keyboard_does_not_come_up_unasked(new_chat: Any) -> None:
    chat = await new_chat(**PHONE)
    await expect(chat.question).not_to_be_focused()


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_text_stands_out_in_both_schemes(
    new_chat: Any, wire: ScriptedWire, scheme: str
) -> None:
    chat = await new_chat(color_scheme=scheme)
    await answered(chat, wire, CODE)
    await expect(chat.prose.locator(".hljs-keyword").first).to_be_visible()
    await chat.page.mouse.move(0, 0)
    assert await chat.page.evaluate(FAINT) == []
    ground = await chat.page.evaluate("() => getComputedStyle(document.body).backgroundColor")
    assert (ground == "rgb(23, 24, 22)") == (scheme == "dark")


async def test_the_sign_in_form_stands_out_too(new_chat: Any, wire: ScriptedWire) -> None:
    chat = await new_chat(color_scheme="dark")
    assert await chat.page.evaluate(FAINT) == []


async def test_less_motion_when_asked(new_chat: Any, wire: ScriptedWire) -> None:
    chat = await new_chat(reduced_motion="reduce")
    await chat.ask("Wait")
    await wire.job()
    dot = chat.answer.locator(".waiting span").first
    await expect(dot).to_be_visible()
    assert await dot.evaluate("(dot) => getComputedStyle(dot).animationIterationCount") == "1"


async def test_the_text_is_followed_until_the_person_scrolls_away(
    chat: Chat, wire: ScriptedWire
) -> None:
    await chat.ask("Long")
    job = await wire.job()
    await job.say(*(f"Paragraph {number}.\n\n" for number in range(60)))
    await expect(chat.prose.get_by_text("Paragraph 59.")).to_be_in_viewport()
    latest = chat.page.get_by_role("button", name="Latest")
    await expect(latest).to_be_hidden()
    await chat.page.locator("#scroller").evaluate("(scroller) => (scroller.scrollTop = 0)")
    await expect(latest).to_be_visible()
    await job.say("The end.")
    await expect(chat.prose).to_contain_text("The end.")
    await expect(chat.prose.get_by_text("The end.")).not_to_be_in_viewport()
    await latest.click()
    await expect(chat.prose.get_by_text("The end.")).to_be_in_viewport()
    await job.complete()
    await chat.finished()


async def test_every_module_is_named_in_the_page(chat: Chat) -> None:
    """So that the browser asks for all of them at once, however deep the imports go."""
    from tests.support.scripted_wire import PAGE

    modules = {f"/static/{path.relative_to(PAGE)}" for path in PAGE.glob("js/**/*.js")} - {
        "/static/js/main.js"
    }
    named = set(
        await chat.page.locator("link[rel=modulepreload]").evaluate_all(
            "(links) => links.map((link) => link.getAttribute('href'))"
        )
    )
    assert named - modules == {"/static/vendor/marked.esm.js", "/static/vendor/purify.es.mjs"}
    assert modules <= named
