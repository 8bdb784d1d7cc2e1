"""Runs a few lines of JavaScript against the page's own modules, in a browser."""

from __future__ import annotations

from typing import Any

from playwright.async_api import Page


async def run_module(lab: Page, path: str, body: str, argument: Any = None) -> Any:
    """`body` sees the module at `path` as `module`, `argument` as `given`, and returns a value."""
    load = f"const module = await import('/static/js/{path}');"
    script = f"async (given) => {{ {load} {body} }}"
    return await lab.evaluate(script, argument)
