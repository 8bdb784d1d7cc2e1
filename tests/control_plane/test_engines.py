"""The watch over the engines, with engines that answer as told."""

from __future__ import annotations

import logging

import httpx
import pytest

from contracts.grants import EngineTarget
from control_plane.engines import EngineWatch
from control_plane.metrics import Metrics
from tests.control_plane.harness import Clock, Engines, rulebook

TARGETS = rulebook().targets


async def test_every_engine_is_asked_once_a_round(clock: Clock) -> None:
    engines = Engines()
    async with httpx.AsyncClient(transport=engines) as client:
        await EngineWatch(TARGETS, client, clock, Metrics()).check()
    assert sorted(engines.asked) == [
        "http://a.test:1/health",
        "http://a.test:1/v1/models/scores",
        "http://b.test:1/api/version",
    ]


async def test_down_and_up_again_is_noticed_and_told_once(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, logger="control_plane")
    engines = Engines()
    async with httpx.AsyncClient(transport=engines) as client:
        watch = EngineWatch(TARGETS, client, clock, Metrics())
        small = TARGETS[0]
        engines.down = {"a.test"}
        seen = []
        for _ in range(3):
            await watch.check()
            seen.append(watch.is_healthy(small))
        engines.down = set()
        await watch.check()
        assert [*seen, watch.is_healthy(small)] == [True, False, False, True]
    told = [record.message for record in caplog.records if "/health" in record.message]
    assert told == [
        "engine http://a.test:1/health is down",
        "engine http://a.test:1/health is up",
    ]


@pytest.mark.parametrize("status", [301, 404, 500, 503])
async def test_only_success_is_health(clock: Clock, status: int) -> None:
    transport = httpx.MockTransport(lambda _: httpx.Response(status))
    async with httpx.AsyncClient(transport=transport) as client:
        watch = EngineWatch(TARGETS, client, clock, Metrics())
        await watch.check()
        await watch.check()
        assert not any(watch.is_healthy(target) for target in TARGETS)


async def test_an_engine_nobody_watches_counts_as_healthy(clock: Clock) -> None:
    async with httpx.AsyncClient() as client:
        watch = EngineWatch([], client, clock, Metrics())
        stranger = EngineTarget(kind="vllm", base_url="http://new", model="m")
        assert watch.is_healthy(stranger)


async def test_an_url_that_is_none_is_an_engine_that_is_down(clock: Clock) -> None:
    broken = EngineTarget(kind="vllm", base_url="http://[broken", model="m")
    async with httpx.AsyncClient() as client:
        watch = EngineWatch([broken], client, clock, Metrics())
        await watch.check()
        await watch.check()
        assert not watch.is_healthy(broken)
