"""Runs a few lines of JavaScript against the page's own modules, in the browser that will run them."""

from __future__ import annotations

from typing import Any

from playwright.async_api import Page


async def run_module(lab: Page, path: str, body: str, argument: Any = None) -> Any:
    """`body` sees the module at `path` as `module` and `argument` as `given`, and returns a value."""
    script = f"async (given) => {{ const module = await import('/static/js/{path}'); {body} }}"
    return await lab.evaluate(script, argument)
