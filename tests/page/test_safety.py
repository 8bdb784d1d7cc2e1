"""Nothing that a model, a title or a tool says is ever more than text."""

from __future__ import annotations

import pytest
from playwright.async_api import expect

from tests.page.chat import Chat
from tests.support.scripted_wire import ScriptedWire

ATTACKS = [
    "<script>window.hit=1</script>",
    "<img src=x onerror=window.hit=1>",
    "<svg/onload=window.hit=1>",
    "<iframe srcdoc='<script>parent.hit=1</script>'></iframe>",
    "[a](javascript:window.hit=1)",
    "[a](JaVaScRiPt:window.hit=1)",
    "[a](data:text/html,<script>parent.hit=1</script>)",
    '![a](x" onerror="window.hit=1)',
    "<a href='jav&#x09;ascript:window.hit=1'>a</a>",
    "<form action=/auth/logout method=post><input type=submit autofocus></form>",
    "<style>*{display:none}</style>",
    "<math><mtext><table><mglyph><style><!--</style><img title='--&gt;&lt;img src=1 onerror=x>'>",
    '```html" onmouseover=window.hit=1 x="\n<script>window.hit=1</script>\n```',
    "```<img src=x onerror=window.hit=1>\nx\n```",
    "[a]: javascript:window.hit=1\n\n[a]",
    "<base href=https://example.org/><meta http-equiv=refresh content='0;url=https://example.org/'>",
    "| a |\n| - |\n| <img src=x onerror=window.hit=1> |",
    "<div id=composer><input name=focus>",
]
ALLOWED = {"https:", "http:", "mailto:"}


@pytest.mark.parametrize("piece", [1, 10_000], ids=["in pieces", "at once"])
async def test_an_answer_full_of_attacks_is_only_text(
    chat: Chat, wire: ScriptedWire, piece: int
) -> None:
    text = "\n\n".join(ATTACKS)
    await chat.ask("<img src=x onerror=window.hit=1>")
    job = await wire.job()
    await job.append("reasoning", reasoning="<img src=x onerror=window.hit=1>", ts=1.0)
    await job.append("notice", code="limited", message="<img src=x onerror=window.hit=1>")
    await job.append(
        "tool_call",
        id="1",
        name="<img src=x onerror=window.hit=1>",
        arguments="<svg onload=window.hit=1>",
    )
    await job.say(*(text[i : i + piece] for i in range(0, len(text), piece)))
    await job.complete()
    await chat.finished()
    await chat.page.reload()
    await chat.ready()
    await expect(chat.prose).to_contain_text("<script>window.hit=1</script>")
    for selector in (
        "script",
        "img",
        "svg:not(.icon)",
        "iframe",
        "form",
        "style",
        "math",
        "base",
        "meta",
        "input",
        "[onerror]",
        "[onload]",
        "[onmouseover]",
        "[style]",
    ):
        await expect(chat.answer.locator(selector)).to_have_count(0)
    schemes = await chat.answer.locator("a[href]").evaluate_all(
        "(links) => links.map((link) => link.protocol)"
    )
    assert set(schemes) <= ALLOWED
    assert await chat.page.evaluate("() => window.hit") is None
    await expect(chat.chats.first).to_contain_text("<img src=x")


async def test_a_policy_violation_would_be_noticed(chat: Chat) -> None:
    """A clean console is taken for proof that nothing broke the policy: a break must show there."""
    await chat.page.evaluate(
        """() => {
            const script = document.createElement("script");
            script.textContent = "window.hit = 1";
            document.body.append(script);
        }"""
    )
    await expect(chat.question).to_be_visible()
    assert any("Content Security Policy" in line for line in chat.complaints)
    assert await chat.page.evaluate("() => window.hit") is None
    chat.complaints.clear()
