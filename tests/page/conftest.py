"""A fresh scripted server and a fresh page for each test."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page

from tests.page.chat import Chat, open_chat
from tests.support.scripted_wire import ScriptedWire, scripted_wire

HERE = Path(__file__).parent
# What the browser itself writes about requests that a test lets fail.
FAILED_REQUEST = re.compile(r"^Failed to load resource: ")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "faults: requests fail on purpose, and the browser says so")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """One browser serves all tests here, so they share its event loop."""
    for item in items:
        if HERE in item.path.parents and isinstance(item, pytest.Function):
            item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)


@pytest_asyncio.fixture(loop_scope="session")
async def wire() -> AsyncIterator[ScriptedWire]:
    async with scripted_wire() as running:
        yield running


@pytest_asyncio.fixture(loop_scope="session")
async def new_chat(
    browser: Browser, wire: ScriptedWire, request: pytest.FixtureRequest
) -> AsyncIterator[Any]:
    """Opens the page in a context of its own. Whatever the console complains of fails the test."""
    opened: list[Chat] = []

    async def new(path: str = "/", **options: Any) -> Chat:
        chat = await open_chat(browser, wire.url + path, Chat, **options)
        opened.append(chat)
        return chat

    yield new
    for chat in opened:
        await chat.page.context.close()
    faults_wanted = request.node.get_closest_marker("faults") is not None
    complaints = [line for chat in opened for line in chat.complaints]
    assert [line for line in complaints if not (faults_wanted and FAILED_REQUEST.match(line))] == []


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def lab(browser: Browser) -> AsyncIterator[Page]:
    """One page for all tests that only use its modules."""
    async with scripted_wire() as wire:
        chat = await open_chat(browser, wire.url, Chat)
        yield chat.page
        await chat.page.context.close()
        assert chat.complaints == []


@pytest_asyncio.fixture(loop_scope="session")
async def chat(new_chat: Callable[[], Awaitable[Chat]]) -> Chat:
    """The page, signed in, with the models there."""
    return await new_chat()
