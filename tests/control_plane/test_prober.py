"""The probe over scripted engines."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from contracts.grants import EngineTarget
from control_plane.continuation import Capability, forms_for
from control_plane.engines import EngineWatch
from control_plane.metrics import Metrics
from control_plane.prober import Prober
from control_plane.proofs import RETRY_AFTER_S, Proven
from control_plane.store.proven import Which, which
from tests.control_plane.harness import Clock, rulebook
from tests.support.eventually import eventually_async

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
        self.queues: dict[str, asyncio.Event] = {}
        self.waiting = 0
        self.files: dict[str, str] = {}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        host = request.url.host
        if request.method == "GET":
            up = host not in self.away
            if request.url.path == "/api/ps":
                return httpx.Response(200, json={"models": [{"name": n} for n in self.loaded]})
            if request.url.path == "/v1/models" and host in self.files:
                entry = {"id": SMALL.model, "root": self.files[host]}
                return httpx.Response(200, json={"data": [entry]})
            return httpx.Response(200 if up else 503)
        self.asked.append(host)
        if host in self.queues:
            await self._in_queue(self.queues[host])
        if host in self.broken:
            raise httpx.ReadError("cut", request=request)
        if host in self.refusing:
            return httpx.Response(400, json={"error": {"message": "no"}})
        body = json.loads(request.content)
        count = sum(len(m["content"].split()) for m in body["messages"])
        return httpx.Response(200, text=_answer(body, count))

    async def _in_queue(self, turn: asyncio.Event) -> None:
        self.waiting += 1
        try:
            await turn.wait()
        finally:
            self.waiting -= 1


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
        metrics = self.metrics = Metrics()
        self.clock, self.engines = clock, engines
        self.watch = EngineWatch(targets, client, clock, metrics)
        self.kept: dict[Which, Proven] = {}
        self.prober = Prober(targets, client, self.watch.health, clock, metrics, self._keep)

    async def round(self) -> None:
        self.clock.now += 1
        await self.watch.check()
        await self.prober.check()

    async def _keep(self, engine: EngineTarget, proven: Proven) -> None:
        self.kept[which(engine)] = proven

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


async def test_an_engine_with_a_queue_is_waited_for_and_holds_up_no_other(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("control_plane.proofs.PROBE_S", (0.05, 60.0))
    monkeypatch.setattr("control_plane.prober.LOOK_S", 0.3)
    turn = place.engines.queues["a.test"] = asyncio.Event()
    place.engines.away = {"b.test"}
    await place.round()
    assert SMALL not in place.prober.untried
    place.clock.now += RETRY_AFTER_S[0]
    await place.round()
    place.engines.away = set()
    await place.round()
    assert (place.continues(), place.continues(SMALL_ELSEWHERE)) == (False, True)

    turn.set()
    await eventually_async(place.continues)
    await place.round()
    assert place.engines.asked.count("a.test") == 1 + len(forms_for(SMALL))


async def test_what_is_found_out_is_kept_for_the_next_process(place: Place) -> None:
    place.engines.refusing = {"b.test"}
    await place.round()
    assert place.kept[which(SMALL)] == Proven(Capability(continues=True, trims=True))
    assert place.kept[which(SMALL_ELSEWHERE)] == Proven(Capability())


async def test_what_is_kept_stands_until_it_was_found_out_again(place: Place) -> None:
    """The engine is too busy to answer, or it is another one behind the same URL."""
    place.prober.recall({which(SMALL): Proven(Capability(continues=True))})
    assert place.continues()
    place.engines.broken = {"a.test"}
    await place.round()
    assert place.continues()
    assert SMALL not in place.prober.untried
    place.engines.broken, place.engines.refusing = set(), {"a.test"}
    place.clock.now += 1
    await place.round()
    assert not place.continues()


async def test_what_is_kept_of_an_engine_that_is_away_is_worth_nothing(place: Place) -> None:
    place.prober.recall({which(SMALL): Proven(Capability(continues=True))})
    place.engines.away = place.engines.broken = {"a.test"}
    await place.round()
    await place.round()
    assert not place.continues()
    place.engines.away = set()
    await place.round()
    assert not place.continues()


async def test_who_has_only_told_who_it_is_has_not_been_tried(place: Place) -> None:
    """A cluster is ready once its engines have been: what they can must be known by then."""
    place.engines.files["a.test"] = "weights"
    turn = place.engines.queues["a.test"] = asyncio.Event()
    await place.watch.check()
    checking = asyncio.create_task(place.prober.check())
    await eventually_async(lambda: place.engines.waiting == 1)
    assert SMALL in place.prober.untried
    turn.set()
    await checking
    assert (SMALL in place.prober.untried, place.continues()) == (False, True)


@pytest.mark.parametrize(("file", "known"), [("weights", True), ("other weights", False)])
async def test_an_engine_that_comes_back_busy_is_known_by_its_name(
    place: Place, monkeypatch: pytest.MonkeyPatch, file: str, known: bool
) -> None:
    """It was killed, and all its callers are back before the first probe."""
    monkeypatch.setattr("control_plane.proofs.PROBE_S", (0.05, 60.0))
    place.engines.files["a.test"] = "weights"
    await place.round()
    place.engines.away = {"a.test"}
    await place.round()
    await place.round()
    assert not place.continues()
    place.engines.away, place.engines.files["a.test"] = set(), file
    place.engines.queues["a.test"] = asyncio.Event()
    await place.round()
    assert place.continues() is known
    told = place.metrics.registry.get_sample_value(
        "okome_control_engine_continues", {"engine": SMALL.base_url, "model": SMALL.model}
    )
    assert told == known
    await place.prober.aclose()


async def test_a_probe_that_waits_ends_with_its_owner(place: Place) -> None:
    place.engines.queues["a.test"] = asyncio.Event()
    await place.watch.check()
    checking = asyncio.create_task(place.prober.check())
    await eventually_async(lambda: "a.test" in place.engines.asked)
    checking.cancel()
    await place.prober.aclose()
    assert place.engines.waiting == 0


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
