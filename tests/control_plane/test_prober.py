"""The probe over scripted engines."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from contracts.grants import EngineTarget
from control_plane.engines import EngineWatch
from control_plane.metrics import Metrics
from control_plane.prober import Prober
from tests.control_plane.harness import Clock, rulebook

MODELS = rulebook().policy_models(0)
SMALL, SMALL_ELSEWHERE = MODELS[0].engines


class Engines(httpx.AsyncBaseTransport):
    """Engines that continue a text; those of `refusing` hosts answer 400, `away` ones not."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.refusing: set[str] = set()
        self.away: set[str] = set()
        self.broken: set[str] = set()
        self.loaded = ["small", "other"]

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        host = request.url.host
        if request.method == "GET":
            up = host not in self.away
            if request.url.path == "/api/ps":
                return httpx.Response(200, json={"models": [{"name": n} for n in self.loaded]})
            return httpx.Response(200 if up else 503)
        self.asked.append(host)
        if host in self.broken:
            raise httpx.ReadError("cut", request=request)
        if host in self.refusing:
            return httpx.Response(400, json={"error": {"message": "no"}})
        body = json.loads(request.content)
        count = sum(len(m["content"].split()) for m in body["messages"])
        return httpx.Response(200, text=_answer(body, count))


def _answer(body: dict[str, Any], count: int) -> str:
    if "options" in body:
        return json.dumps({"message": {"content": " x"}, "done": True, "prompt_eval_count": count})
    chunk = {
        "choices": [{"delta": {"content": " x"}, "finish_reason": "length"}],
        "usage": {"prompt_tokens": count},
    }
    return f"data: {json.dumps(chunk)}\n\ndata: [DONE]\n\n"


class Place:
    """A watch and a prober over the same engines."""

    def __init__(self, clock: Clock, client: httpx.AsyncClient, engines: Engines) -> None:
        targets = [engine for model in MODELS for engine in model.engines]
        metrics = Metrics()
        self.clock, self.engines = clock, engines
        self.watch = EngineWatch(targets, client, clock, metrics)
        self.prober = Prober(targets, client, self.watch.health, clock, metrics)

    async def round(self) -> None:
        self.clock.now += 1
        await self.watch.check()
        await self.prober.check()

    def continues(self, engine: EngineTarget = SMALL) -> bool:
        return self.prober.proven(engine).continues


@pytest.fixture
async def place(clock: Clock) -> AsyncIterator[Place]:
    engines = Engines()
    async with httpx.AsyncClient(transport=engines) as client:
        yield Place(clock, client, engines)


async def test_every_engine_is_probed_once(place: Place) -> None:
    assert not place.continues()
    assert len(place.prober.untried) == 3
    await place.round()
    assert place.continues()
    assert place.continues(SMALL_ELSEWHERE)
    assert place.prober.untried == []
    asked = len(place.engines.asked)
    assert asked == 5 + 2 * 4
    await place.round()
    assert len(place.engines.asked) == asked


async def test_a_refusal_is_remembered(place: Place) -> None:
    place.engines.refusing = {"a.test"}
    await place.round()
    assert not place.continues()
    assert place.continues(SMALL_ELSEWHERE)
    place.engines.refusing = set()
    await place.round()
    assert not place.continues()


async def test_after_an_absence_it_is_probed_anew(place: Place) -> None:
    place.engines.refusing = {"a.test"}
    await place.round()
    place.engines.away, place.engines.refusing = {"a.test"}, set()
    await place.round()
    await place.round()
    place.engines.away = set()
    await place.round()
    assert place.continues()


async def test_a_probe_that_breaks_is_tried_later_and_is_no_illness(place: Place) -> None:
    place.engines.broken = {"a.test"}
    await place.round()
    assert not place.continues()
    assert place.watch.is_healthy(SMALL)
    assert SMALL not in place.prober.untried
    place.engines.broken = set()
    place.clock.now += 1
    await place.round()
    assert place.continues()


async def test_ollama_loads_no_model_for_a_probe(place: Place) -> None:
    place.engines.loaded = []
    await place.round()
    assert "b.test" not in place.engines.asked
    assert not place.continues(SMALL_ELSEWHERE)
    place.engines.loaded = ["small:latest"]
    place.clock.now += 1
    await place.round()
    assert place.continues(SMALL_ELSEWHERE)


async def test_what_is_proven_stands_at_every_engine_of_a_model(place: Place) -> None:
    await place.round()
    models = {model.id: model for model in place.prober.proven_models(MODELS)}
    assert [engine.continues for engine in models["small"].engines] == [True, True]
    assert [engine.continues for engine in models["scores"].engines] == [False]


async def test_an_engine_nobody_probes_is_not_proven(place: Place) -> None:
    stranger = EngineTarget(kind="vllm", base_url="http://new", model="m", continues=True)
    assert not place.continues(stranger)
