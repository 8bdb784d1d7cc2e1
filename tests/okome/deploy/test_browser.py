"""The chat that `okome verify` holds in a browser, against a scripted server."""

from __future__ import annotations

import asyncio
import datetime

import pytest

from okome.deploy.authority import Names, make_authority
from okome.deploy.browser import chat, lacking
from okome.errors import OkomeError
from tests.support.scripted_wire import ScriptedWire, scripted_wire

pytestmark = pytest.mark.skipif(lacking() is not None, reason=f"this machine lacks {lacking()}")
# Of another server: plain HTTP asks for none.
CERTIFICATE, _ = make_authority("x", datetime.datetime.now(datetime.UTC)).issue(
    Names("x"), datetime.datetime.now(datetime.UTC)
)


async def answer(wire: ScriptedWire) -> None:
    async with wire.arrived:  # a browser takes its time to start on a busy machine
        await wire.arrived.wait_for(lambda: bool(wire.jobs))
    job = await wire.job()
    await job.say("Red, ", "green, ", "blue.")
    await job.complete()


async def test_the_answer_is_compared_with_the_record() -> None:
    async with scripted_wire() as wire:
        answering = asyncio.create_task(answer(wire))
        said = await asyncio.to_thread(chat, wire.url, wire.enter_token, CERTIFICATE)
        await answering
    assert said == "17 characters in 4 events, as recorded"


async def test_who_is_not_let_in_is_told() -> None:
    async with scripted_wire() as wire:
        wire.signed_in = False
        with pytest.raises(OkomeError, match="the chat in a browser"):
            await asyncio.to_thread(chat, wire.url, "another", CERTIFICATE, 5_000)
