"""The runbook as a page of the dashboard's server, where alerts lead to.

    python -m observability.dash.runbook

writes it anew from docs/runbook.md, which is not on an installed node; a test compares.
"""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path
from typing import Final

from markdown_it import MarkdownIt
from markdown_it.token import Token

SOURCE: Final = Path(__file__).parents[2] / "docs" / "runbook.md"
PAGE: Final = Path(__file__).parent / "page" / "runbook.html"
_FRAME: Final = """\
<!doctype html>
<!-- Made by `python -m observability.dash.runbook`; a change here is lost. -->
<html lang="en">
<head>
  <meta charset="utf-8">
  <meta name="viewport" content="width=device-width, initial-scale=1">
  <meta name="color-scheme" content="light dark">
  <title>OKOME · runbook</title>
  <link rel="icon" href="/static/icon.svg" type="image/svg+xml">
  <link rel="stylesheet" href="/static/dash.css">
</head>
<body>
  <header><a href="/">To the figures</a></header>
  <main class="text">
{}  </main>
</body>
</html>
"""


def page(text: str) -> str:
    """The runbook as HTML. Each heading has its words as its `id`, as alerts name it; links to
    other files of docs/, which are not here, are their words."""
    markdown = MarkdownIt("commonmark").enable("table")
    tokens = markdown.parse(text)
    for opening, inline in pairwise(tokens):
        if opening.type == "heading_open":
            opening.attrSet("id", re.sub(r"[^\w]+", "-", inline.content.lower()).strip("-"))
    for token in tokens:
        if token.children:
            token.children = _without_files(token.children)
    return _FRAME.format(markdown.renderer.render(tokens, markdown.options, {}))


def _without_files(children: list[Token]) -> list[Token]:
    kept, ours = [], True
    for token in children:
        if token.type == "link_open":
            ours = str(token.attrGet("href")).startswith(("#", "http://", "https://"))
        if ours or not token.type.startswith("link_"):
            kept.append(token)
        ours = ours or token.type == "link_close"
    return kept


def main() -> None:
    """Writes it."""
    PAGE.write_text(page(SOURCE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
