from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.support.scripted_tool import ScriptedTool, scripted_tool


@pytest.fixture
async def server() -> AsyncIterator[ScriptedTool]:
    async with scripted_tool() as running:
        yield running
