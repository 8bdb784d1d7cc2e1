"""What tests of several rooms share: one headless Chromium for the whole run."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator

import hypothesis
import pytest
import pytest_asyncio
from playwright.async_api import Browser, async_playwright

# How long an example takes says something about the machine only.
hypothesis.settings.register_profile("okome", deadline=None)
hypothesis.settings.load_profile("okome")

SWITCHES = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    """A real browser; tests that use it run on the session's event loop."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("no Chromium: install the package `chromium` to test in a browser")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=chromium, headless=True, args=SWITCHES
        )
        yield browser
        await browser.close()
