"""The poller over engines on real sockets: well, hanging, lying, gone, and full of rubbish."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import httpx
import pytest

from contracts.grants import EngineReport, EngineTarget
from contracts.problems import ProblemError
from control_plane.engines import EngineWatch
from control_plane.fleet.asking import ask
from control_plane.fleet.polling import Poller
from control_plane.fleet.readings import Load
from control_plane.fleet.servers import Fleet
from control_plane.metrics import Metrics
from control_plane.placing.dispatch import Dispatcher
from control_plane.placing.placement import Job
from control_plane.placing.questions import Question
from control_plane.placing.rules import ModelPlaces, PlacingRules
from tests.control_plane.fleet.engines import LIE, TEXT, FakeEngine, replied, vllm
from tests.control_plane.placing.building import grant
from tests.support.eventually import eventually_async

HTML = (200, b"<!doctype html><html><body>It works!</body></html>" * 100)


class Watched:
    """Engines of one model, in this order, polled for real."""

    def __init__(
        self,
        client: httpx.AsyncClient,
        kinds: list[tuple[str, FakeEngine]],
        model: str,
        bounded: bool,
    ) -> None:
        self.targets = [
            EngineTarget(kind=kind, base_url=engine.url, model=model, name=f"{kind}{n}")  # type: ignore[arg-type]
            for n, (kind, engine) in enumerate(kinds)
        ]
        self.watch = watch = EngineWatch(self.targets, client, time.time, Metrics())
        self.fleet = Fleet(watch.states)
        places = ModelPlaces(id="m", seats=self.fleet.seats(self.targets))
        rules = PlacingRules(models={"m": places}, bounded=bounded)
        self.dispatcher = Dispatcher(self.fleet, 30.0, rules)
        self.poller = Poller(
            self.fleet,
            watch,
            client,
            time.time,
            self.dispatcher.occupancy.held,
            self.dispatcher.placer.take_cold,
        )
        self.poller.follow(self.targets)
        self.count = 0

    def seen(self, engine: FakeEngine) -> str:
        """The state of an engine for the model."""
        (seat,) = [
            seat
            for seat in self.dispatcher.rules.models["m"].seats
            if seat.server.url == engine.url
        ]
        return self.fleet.condition(seat, time.time())

    def ask(self, **job: object) -> list[str]:
        """Where a job would go now; it ends at once."""
        self.count += 1
        question = Question(
            grant=grant(f"g{self.count}", "u"),
            model="m",
            tier="free",
            job=Job(**job),  # type: ignore[arg-type]
            max_tokens=10,
        )
        decision = self.dispatcher.decide(question, time.time())
        self.dispatcher.ended(question.grant.id, time.time())
        return [target.base_url for target in decision.targets] if not decision.turn else []

    def report(self, engine: FakeEngine, fault: str) -> None:
        report = EngineReport(node="n", base_url=engine.url, model="m", fault=fault)  # type: ignore[arg-type]
        self.fleet.reported(report, time.time())
        self.poller.confirm(engine.url)


@asynccontextmanager
async def watching(
    *kinds: tuple[str, FakeEngine], model: str = "m", bounded: bool = True
) -> AsyncIterator[Watched]:
    async with AsyncExitStack() as stack:
        for _, engine in kinds:
            await stack.enter_async_context(engine.serving())
        client = await stack.enter_async_context(httpx.AsyncClient(trust_env=False))
        watched = Watched(client, list(kinds), model, bounded)
        stack.push_async_callback(watched.poller.aclose)
        await watched.poller.tend()
        yield watched


async def test_an_engine_that_dies_gets_no_new_job_within_two_seconds() -> None:
    first, second = FakeEngine(vllm()), FakeEngine({"/api/version": (200, b"{}")})
    async with watching(("vllm", first), ("ollama", second)) as watched:
        await eventually_async(lambda: first.count("/health") and second.count("/api/version"))
        assert watched.ask()[0] == first.url
        await first.stop()
        await eventually_async(lambda: watched.ask() == [second.url], within=2.0)


async def test_a_report_that_a_check_confirms_puts_it_out_before_the_second_check() -> None:
    first, second = FakeEngine(vllm()), FakeEngine({"/api/version": (200, b"{}")})
    async with watching(("vllm", first), ("ollama", second)) as watched:
        await eventually_async(lambda: first.count("/health"))
        await first.stop()
        watched.report(first, "engine_unreachable")
        await eventually_async(lambda: watched.seen(first) in ("failing", "down"))


async def test_an_engine_that_hangs_delays_no_other() -> None:
    hanging, well = FakeEngine({"/health": None}), FakeEngine(vllm(waiting=3))
    async with watching(("vllm", hanging), ("vllm", well)) as watched:
        await eventually_async(lambda: hanging.count("/health"))
        await eventually_async(lambda: well.count("/health") >= 3)
        assert hanging.count("/health") == 1
        server = watched.fleet.servers[well.url]
        await eventually_async(lambda: server.load == Load(None, 3, None))


async def test_without_a_policy_nobody_is_sent_to_the_only_engine_while_it_hangs() -> None:
    engine = FakeEngine(vllm())
    async with watching(("vllm", engine), bounded=False) as watched:
        await eventually_async(lambda: engine.count("/health"))
        assert watched.ask() == [engine.url]
        engine.replies["/health"] = None

        def refused() -> bool:
            try:
                return not watched.ask()
            except ProblemError as problem:
                return problem.detail == "No engine with the model m answers."

        await eventually_async(refused, within=3.0)
        assert watched.seen(engine) == "up"


async def test_one_that_hangs_stays_late_from_check_to_check(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("control_plane.engines.PROBE_TIMEOUT_S", 0.05)
    monkeypatch.setattr("control_plane.fleet.polling.HEALTH_EVERY_S", 3.0)
    engine = FakeEngine(vllm())
    async with watching(("vllm", engine)) as watched:
        await eventually_async(lambda: engine.count("/health"))
        server = watched.fleet.servers[engine.url]
        await eventually_async(lambda: server.asked_at is None)
        engine.replies["/health"] = None
        watched.poller.confirm(engine.url)
        await eventually_async(lambda: server.asked_at is not None)
        asked = server.asked_at
        # The check has been given up, and the next one is not under way.
        await eventually_async(lambda: watched.watch.health(watched.targets[0]).failures == 1)
        assert server.asked_at == asked
        engine.replies |= vllm()
        watched.poller.confirm(engine.url)
        await eventually_async(lambda: server.asked_at is None)


async def test_an_engine_that_lies_is_out_after_its_faults_and_back_after_a_token(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("control_plane.fleet.breaker.PAUSE_S", 0.2)
    engine = FakeEngine(vllm() | {"/v1/chat/completions": (200, LIE)})
    async with watching(("vllm", engine)) as watched:
        await eventually_async(lambda: engine.count("/health"))
        for _ in range(3):
            watched.report(engine, "engine_error")
        assert watched.seen(engine) == "failing"
        # There is no other: its own failure says more than a refusal.
        assert watched.ask() == [engine.url]
        tried = engine.count("/v1/chat/completions")
        await eventually_async(lambda: engine.count("/v1/chat/completions") > tried)
        assert watched.seen(engine) == "failing"
        engine.replies["/v1/chat/completions"] = (200, TEXT)
        await eventually_async(lambda: watched.seen(engine) == "up")
        assert watched.ask() == [engine.url]


async def test_rubbish_everywhere_is_an_engine_of_which_nothing_is_known() -> None:
    paths = ("/health", "/metrics", "/v1/models", "/props", "/v1/chat/completions")
    engine = FakeEngine(dict.fromkeys(paths, HTML))
    async with watching(("vllm", engine)) as watched:
        await eventually_async(lambda: engine.count("/metrics") >= 2)
        assert watched.ask() == [engine.url]
        server = watched.fleet.servers[engine.url]
        assert (server.load, server.offer.models, server.powers) == (Load(), None, {})


async def test_a_model_that_leaves_the_list_gets_no_job_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("control_plane.fleet.polling.OFFER_EVERY_S", 0.0)
    engine = FakeEngine(vllm())
    async with watching(("vllm", engine)) as watched:
        await eventually_async(lambda: engine.count("/metrics"))
        assert watched.ask() == [engine.url]
        engine.replies |= vllm("another")
        await eventually_async(lambda: watched.seen(engine) == "absent")
        engine.replies |= vllm()
        await eventually_async(lambda: watched.seen(engine) == "up")


async def test_vllm_is_asked_whether_it_calls_tools() -> None:
    refusing = vllm() | {"/v1/chat/completions": (400, b'{"error":{"message":"tool choice"}}')}
    engine, able = FakeEngine(refusing), FakeEngine(vllm())
    async with watching(("vllm", engine), ("vllm", able)) as watched:
        servers = watched.fleet.servers
        await eventually_async(lambda: servers[engine.url].powers and servers[able.url].powers)
        assert watched.ask(needs=("tools",)) == [able.url]
        with pytest.raises(ProblemError, match="context_too_long"):
            watched.ask(prompt_tokens=2048)


async def test_llamacpp_tells_of_its_template_and_its_slots() -> None:
    props = {
        "total_slots": 4,
        "default_generation_settings": {"n_ctx": 512},
        "chat_template_caps": {"supports_tools": False},
        "modalities": {"vision": False},
        "chat_template": "",
    }
    engine = FakeEngine(vllm() | {"/props": replied(props)})
    async with watching(("vllm", engine)) as watched:
        server = watched.fleet.servers[engine.url]
        await eventually_async(lambda: server.offer.slots == 4 and server.powers)
        with pytest.raises(ProblemError, match="cannot see images"):
            watched.ask(needs=("vision",))
        # It describes tools in a form of its own where its template has none.
        assert watched.ask(needs=("tools",)) == [engine.url]
        with pytest.raises(ProblemError, match="takes 512"):
            watched.ask(prompt_tokens=512)


async def test_a_cold_ollama_is_warmed_while_another_engine_answers() -> None:
    cold = FakeEngine(
        {
            "/api/version": replied({"version": "0.12.0"}),
            "/api/tags": replied({"models": [{"name": "m:latest"}]}),
            "/api/ps": replied({"models": []}),
            "/api/show": replied({"capabilities": ["completion", "tools"], "model_info": {}}),
            "/api/generate": replied({"done": True, "done_reason": "load"}),
        }
    )
    warm = FakeEngine(vllm())
    async with watching(("ollama", cold), ("vllm", warm)) as watched:
        server = watched.fleet.servers[cold.url]
        await eventually_async(lambda: server.offer.loaded == frozenset() and server.powers)
        assert watched.ask() == [warm.url, cold.url]
        await watched.poller.tend()
        await eventually_async(lambda: cold.count("/api/generate") == 1)
        cold.replies["/api/ps"] = replied({"models": [{"name": "m:latest"}]})
        await eventually_async(lambda: watched.ask() == [cold.url, warm.url])
        assert watched.ask(needs=("tools",)) == [cold.url, warm.url]


async def test_engines_that_the_policy_drops_are_asked_no_more() -> None:
    engine = FakeEngine(vllm())
    async with watching(("vllm", engine)) as watched:
        await eventually_async(lambda: engine.count("/health"))
        watched.poller.follow([])
        await watched.poller.tend()
        await asyncio.sleep(0)
        asked = len(engine.asked)
        await watched.poller.tend()
        assert len(engine.asked) == asked


async def test_an_answer_is_bounded_in_size_and_time() -> None:
    engine = FakeEngine({"/big": (200, b"x" * 100_000), "/never": None})
    async with engine.serving(), httpx.AsyncClient(trust_env=False) as client:
        status, body = await ask(client, "GET", f"{engine.url}/big", 5.0, most=1000)
        assert (status, len(body)) == (200, 1000)
        assert await ask(client, "GET", f"{engine.url}/never", 0.05) == (0, b"")
        assert await ask(client, "GET", "http://[broken", 1.0) == (0, b"")
