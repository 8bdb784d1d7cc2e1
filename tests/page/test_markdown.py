"""Markdown in pieces ends up as if it had come at once, and costs what it should."""

from __future__ import annotations

import pytest
from playwright.async_api import Page

from tests.page.modules import run_module

TEXTS = {
    "prose": "# Title\n\nSome *text* and\nmore.\n\nSetext\n===\n\n---\n\n> quoted\n> lines\n\nend",
    "lists": "1. one\n2. two\n\n   still two\n3. three\n   - a\n   - b\n\n- x\n- y\n\nafter",
    "tables": "| a | b |\n| --- | --: |\n| 1 | 2 |\n| 3 | 4 |\n\nafter",
    "code": "before\n\n```\nx = 1\n\n```\nafter `code`\n\n~~~\n```\n~~~\n\n    indented\n",
    "open code": "```js\nlet a = `x`;\n``",
    "code in a list": "- item\n\n  ```py\n  x\n  ```\n- next\n",
    "indented fence": "  ```\n  a\n    b\n c\n  ```\nend\n",
    "four marks": "````md\n```\ninside\n```\n````\n",
    "raw html": "<div>a</div>\n\ntext <b>x</b><br>y\n",
    "late definition": "See [this][a].\n\nMore.\n\n[a]: https://example.org/\n",
    "number": "42",
    "dashes": "a\n\n- \n-",
    "windows": "a\r\n\r\n```\r\nb\r\n```\r\nc",
    "task list": "- [x] done\n- [ ] open\n",
}

# Streams a text in pieces of several sizes; gives the whole rendering and the streamed ones.
STREAM = """
    const prepare = () => {
        const div = document.createElement("div");
        div.hidden = true;
        document.body.append(div);
        return div;
    };
    const bare = (root) => root.innerHTML.replace(/\\n+/g, "\\n").replace(/>\\n</g, "><")
        .replace(/\\n<.code>/g, "</code>").trim();
    const options = { announce: () => {} };
    const whole = prepare();
    module.renderWhole(whole, given.text.replaceAll("\\r", ""), options.announce);
    const streamed = [];
    for (const size of given.sizes) {
        const root = prepare();
        const view = new module.StreamedMarkdown(root, options);
        for (let i = 0; i < given.text.length; i += size) {
            view.append(given.text.slice(i, i + size));
            await new Promise(requestAnimationFrame);
        }
        view.finish();
        streamed.push(bare(root));
        root.remove();
    }
    return { whole: bare(whole), streamed };
"""


@pytest.mark.parametrize("name", TEXTS)
async def test_pieces_end_up_as_the_whole(lab: Page, name: str) -> None:
    # Colours come later and by themselves; without a language there are none.
    text = (
        TEXTS[name]
        .replace("python title", "")
        .replace("```js", "```")
        .replace("```py", "```")
        .replace("````md", "````")
    )
    given = {"text": text, "sizes": [1, 3, 7, len(text)]}
    result = await run_module(lab, "markdown/streamed.js", STREAM, given)
    for streamed in result["streamed"]:
        assert streamed == result["whole"]


async def test_settled_blocks_and_finished_code_keep_their_elements(lab: Page) -> None:
    script = """
        const root = document.createElement("div");
        document.body.append(root);
        let grown = () => {};
        const frame = () => new Promise((done) => (grown = done));
        const options = { announce: () => {}, onGrow: () => grown() };
        const view = new module.StreamedMarkdown(root, options);
        view.append("first\\n\\nsecond\\n\\nthird **bo");
        await frame();
        const first = root.querySelector("p");
        const before = root.innerText;
        view.append("ld**\\n\\n```\\nline 1\\nline");
        await frame();
        const code = root.querySelector("pre code").firstChild;
        view.append(" 2\\n```\\ndone");
        await frame();
        view.finish();
        const kept = root.contains(first) && root.contains(code);
        return { before, kept, code: code.data, text: root.textContent };
    """
    result = await run_module(lab, "markdown/streamed.js", script)
    assert result["kept"]
    assert result["code"] == "line 1\nline 2\n"
    assert "third **bo" in result["before"]
    assert "done" in result["text"]


async def test_a_huge_last_block_is_drawn_seldom_and_in_the_end_wholly(lab: Page) -> None:
    script = """
        const root = document.createElement("div");
        document.body.append(root);
        let drawn = 0;
        const options = { announce: () => {}, onGrow: () => (drawn += 1) };
        const view = new module.StreamedMarkdown(root, options);
        view.append("again *and* ".repeat(20_000));
        for (let i = 0; i < 40; i += 1) {
            view.append("and again ");
            await new Promise(requestAnimationFrame);
        }
        const seldom = drawn;
        view.finish();
        const length = root.textContent.length;
        root.remove();
        return { seldom, length };
    """
    result = await run_module(lab, "markdown/streamed.js", script)
    assert result["length"] >= 20_000 * 10 + 40 * 10 - 1
    # Each drawing takes some frames' time, and then rests three times as long.
    assert 1 <= result["seldom"] <= 20


async def test_the_parser_reads_a_long_answer_once(lab: Page) -> None:
    """Counted, not timed: what may still change stays small, however long the answer is."""
    script = """
        const blocks = new module.Blocks();
        let tails = 0;
        const code = "```js\\n" + "let a = 1;\\n".repeat(30) + "```\\n\\n";
        const text = ("A paragraph of some forty characters here.\\n\\n" + code).repeat(100);
        for (let i = 0; i < text.length; i += 10) {
            blocks.push(text.slice(i, i + 10));
            tails = Math.max(tails, blocks.tail.length);
        }
        return { tails, length: text.length };
    """
    result = await run_module(lab, "markdown/blocks.js", script)
    assert result["length"] > 30_000
    assert result["tails"] < 100


async def test_links_and_pictures(lab: Page) -> None:
    script = """
        const div = document.createElement("div");
        div.append(module.render(given));
        const facts = (a) => [a.getAttribute("href"), a.rel, a.target, a.textContent];
        const images = div.querySelectorAll("img").length;
        return [...div.querySelectorAll("a")].map(facts).concat([[images]]);
    """
    links = "[a](https://example.org/) [bad](javascript:alert(1)) [rel](/auth/logout)"
    text = f"{links} ![pic](https://example.org/x.png)"
    a, bad, relative, picture, images = await run_module(lab, "markdown/render.js", script, text)
    assert a == ["https://example.org/", "noopener noreferrer nofollow", "_blank", "a"]
    assert picture[0] == "https://example.org/x.png"
    assert bad[0] is None
    assert relative[0] is None
    assert images == [0]
