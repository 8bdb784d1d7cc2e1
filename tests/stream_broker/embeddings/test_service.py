"""Requests from grant to settlement: one of each, by the grant's engines, cached per user."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from contracts.grants import EngineTarget, Turn, TurnAnswer
from contracts.problems import ProblemError
from stream_broker.authn import Principal
from stream_broker.cache.hot import HotCache
from stream_broker.embeddings import service as module
from stream_broker.embeddings.engines import EmbeddingEngines
from stream_broker.embeddings.request import EmbeddingSpec
from stream_broker.embeddings.service import Embedded, Embedder
from stream_broker.embeddings.wire import EngineFailed
from stream_broker.granting import Granting
from stream_broker.policy import PolicyHolder
from stream_broker.tasks import end
from tests.stream_broker.building import API_KEY, HOME, USER
from tests.stream_broker.parts import Parts, running
from tests.support.embedding_engine import EmbeddingEngine, vector
from tests.support.eventually import eventually_async

ALICE = Principal(USER, "free", ("generate",), API_KEY)
BOB = Principal("user-2", "free", ("generate",), "ok_bob")
NOWHERE = EngineTarget(kind="vllm", base_url="http://127.0.0.1:9", model="e")


class Desk:
    """One broker's embedder, over engines and a control plane of the test."""

    def __init__(self, parts: Parts, most: int = 8) -> None:
        self.parts = parts
        self.control: Any = parts.control
        self.policy = PolicyHolder(self.control, parts.monotonic, poll=2.0)
        self.engines = EmbeddingEngines(5.0, 30.0, parts.monotonic, lambda _: None)
        self.cache = HotCache(1 << 20, 60.0, None, parts.metrics, parts.monotonic)
        self.faults: list[tuple[str, str]] = []
        self.embedder = Embedder(
            HOME,
            "node-3",
            most,
            Granting(parts.settings, "node-3", self.control, self.policy, parts.clock),
            self.control,
            parts.leases,
            parts.spool,
            self.engines,
            self.cache,
            parts.metrics,
            lambda target, code: self.faults.append((target.base_url, code)),
            lambda _: 0,
            parts.clock,
        )

    def grants(self, *targets: EngineTarget, **changes: Any) -> None:
        """What the control plane answers from now on."""
        first, *rest = targets
        answer = msgspec.structs.replace(self.control.answer, engine=first, fallbacks=rest)
        self.control.answer = msgspec.structs.replace(answer, **changes)

    async def embed(self, *items: Any, who: Principal = ALICE, **changes: Any) -> Embedded:
        spec = EmbeddingSpec(model="small", items=list(items), **changes)
        async with asyncio.timeout(10):
            return await self.embedder.embed(who, spec)

    @property
    def settled(self) -> list[tuple[str, str | None, int, int]]:
        """Outcome, code, tokens and cached tokens of each settlement."""
        return [
            (one.outcome, one.code, one.usage.prompt_tokens, one.usage.cached_tokens)
            for one in self.parts.spool.waiting
        ]


@pytest.fixture
async def engine() -> AsyncIterator[EmbeddingEngine]:
    async with EmbeddingEngine() as engine:
        yield engine


@pytest.fixture
async def desk(tmp_path: Path, engine: EmbeddingEngine) -> AsyncIterator[Desk]:
    async with running(tmp_path) as parts:
        desk = Desk(parts)
        desk.grants(engine.target())
        await desk.policy.refresh()
        yield desk
        await desk.engines.aclose()


def floats(embedded: Embedded) -> list[list[float]]:
    return [list(memoryview(one.floats).cast("f")) for one in embedded.vectors]


async def test_a_request_is_one_grant_one_call_and_one_settlement(
    desk: Desk, engine: EmbeddingEngine
) -> None:
    embedded = await desk.embed("two words", "one")
    assert floats(embedded) == [vector("two words"), vector("one")]
    assert (embedded.model, embedded.tokens) == ("small", 12)
    (asked,) = desk.control.asked
    assert (asked.request.kind, asked.request.model) == ("embedding", "small")
    assert desk.settled == [("completed", "stop", 12, 0)]
    (settlement,) = desk.parts.spool.waiting
    assert (settlement.engine, settlement.model, settlement.grant_id) == ("vllm", "small", "g-1")
    assert engine.sizes == [2]


@pytest.mark.parametrize("kind", ["vllm", "ollama"])
async def test_what_was_asked_before_is_not_asked_again(
    desk: Desk, engine: EmbeddingEngine, kind: Any
) -> None:
    desk.grants(engine.target(kind))
    await desk.embed("a", "b b")
    again = await desk.embed("b b", "c", "b b")
    assert floats(again) == [vector("b b"), vector("c"), vector("b b")]
    assert [call["input"] for call in engine.calls] == [["a", "b b"], ["c"]]
    # It costs what it costs, cached or not.
    assert [usage[2:] for usage in desk.settled] == [(4, 0), (7, 6)]


async def test_nobody_sees_what_another_has_cached(desk: Desk, engine: EmbeddingEngine) -> None:
    await desk.embed("a secret")
    desk.grants(engine.target(), user_id=BOB.user_id)
    await desk.embed("a secret", who=BOB)
    assert engine.sizes == [1, 1]


async def test_other_dimensions_or_another_model_are_other_vectors(
    desk: Desk, engine: EmbeddingEngine
) -> None:
    await desk.embed("a")
    short = await desk.embed("a", dimensions=4)
    assert floats(short) == [vector("a", 4)]
    desk.grants(engine.target(model="f"))
    await desk.embed("a")
    await desk.embed([1, 2])
    assert len(engine.calls) == 4


async def test_dimensions_that_the_model_does_not_have_are_told(
    desk: Desk, engine: EmbeddingEngine
) -> None:
    engine.honours_dimensions = False
    with pytest.raises(ProblemError, match="8 dimensions") as raised:
        await desk.embed("a", dimensions=4)
    assert raised.value.field == "dimensions"
    assert desk.settled[0][:2] == ("failed", "invalid_request")
    assert desk.faults == []


async def test_the_next_engine_is_asked_for_all_of_it(desk: Desk, engine: EmbeddingEngine) -> None:
    desk.grants(engine.target(model="first"))
    await desk.embed("a")
    desk.grants(NOWHERE, engine.target(model="second"))
    embedded = await desk.embed("a", "b")
    assert floats(embedded) == [vector("a"), vector("b")]
    assert engine.calls[-1]["input"] == ["a", "b"]
    assert desk.faults == [(NOWHERE.base_url, "engine_unreachable")]


async def test_no_engine_left_is_told_and_settled(desk: Desk) -> None:
    desk.grants(NOWHERE)
    with pytest.raises(EngineFailed) as raised:
        await desk.embed("a")
    assert raised.value.failure.code == "engine_unreachable"
    assert desk.settled == [("failed", "engine_unreachable", 0, 0)]


async def test_a_model_without_embeddings_is_said_so(desk: Desk, engine: EmbeddingEngine) -> None:
    engine.status = 501
    engine.body = b'{"error":{"message":"This server does not support embeddings."}}'
    predict = EngineTarget(kind="tf_serving", base_url="http://127.0.0.1:9", model="m")
    for targets in ([engine.target()], [predict], [predict, engine.target()]):
        desk.grants(*targets)
        with pytest.raises(ProblemError, match="no embeddings") as raised:
            await desk.embed("a")
        assert (raised.value.code, raised.value.field) == ("invalid_request", "model")
    # The engine is well: it would be a fault to tell the control plane otherwise.
    assert desk.faults == []


async def test_a_text_too_long_is_the_client_s_affair_alone(
    desk: Desk, engine: EmbeddingEngine
) -> None:
    engine.poison = "long"
    long, short = await asyncio.gather(
        desk.embed("so long"), desk.embed("short"), return_exceptions=True
    )
    assert isinstance(long, ProblemError)
    assert long.code == "context_too_long"
    assert isinstance(short, Embedded)
    assert floats(short) == [vector("short")]
    assert desk.faults == []


async def test_many_items_come_in_order(desk: Desk, engine: EmbeddingEngine) -> None:
    items = [f"text {n}" for n in range(600)]
    embedded = await desk.embed(*items)
    assert floats(embedded) == [vector(item) for item in items]
    assert max(engine.sizes) == 32
    assert embedded.tokens == sum(map(len, items))


async def test_an_answer_is_bounded(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FLOATS_MAX", 100)
    with pytest.raises(ProblemError, match="At most 12 items") as raised:
        await desk.embed(*(f"t{n}" for n in range(13)))
    assert raised.value.field == "input"


async def test_who_leaves_is_settled_and_its_call_closed(
    desk: Desk, engine: EmbeddingEngine
) -> None:
    engine.open.clear()
    leaving = asyncio.create_task(desk.embed("a"))
    await eventually_async(lambda: engine.calls)
    assert len(desk.embedder) == 1
    await end([leaving])
    await eventually_async(lambda: engine.left == 1)
    assert desk.settled == [("cancelled", "disconnect", 0, 0)]
    await desk.embedder.finished()


async def test_with_the_control_plane_away_the_last_policy_decides(
    desk: Desk, engine: EmbeddingEngine
) -> None:
    model = msgspec.structs.replace(desk.control.snapshot.models[0], engines=[engine.target()])
    desk.control.snapshot = msgspec.structs.replace(
        desk.control.snapshot, models=[model], version="2"
    )
    await desk.policy.refresh()
    desk.control.away = True
    assert floats(await desk.embed("a")) == [vector("a")]
    assert desk.settled == [("completed", "stop", 1, 0)]
    desk.parts.monotonic.now += desk.parts.settings.degraded_for + 1
    with pytest.raises(ProblemError) as raised:
        await desk.embed("a")
    assert raised.value.code == "control_plane_unavailable"


async def test_a_turn_is_waited_for(desk: Desk, engine: EmbeddingEngine) -> None:
    turn = Turn(position=1, ask_again_s=0.01)
    desk.control.turns = [TurnAnswer(turn=turn), TurnAnswer(engine=engine.target(model="its"))]
    desk.grants(NOWHERE, turn=turn)
    await desk.embed("a")
    assert engine.calls[0]["model"] == "its"


async def test_a_turn_that_never_comes_is_told(desk: Desk) -> None:
    desk.control.turns = [ProblemError("not_found", "gone")]
    desk.grants(NOWHERE, turn=Turn(position=1, ask_again_s=0.01))
    with pytest.raises(ProblemError) as raised:
        await desk.embed("a")
    assert raised.value.code == "overloaded"


async def test_the_way_in_is_guarded(desk: Desk, engine: EmbeddingEngine) -> None:
    nobody = Principal(USER, "free", (), API_KEY)
    with pytest.raises(ProblemError) as raised:
        await desk.embed("a", who=nobody)
    assert raised.value.code == "scope_missing"
    engine.open.clear()
    tasks = [asyncio.create_task(desk.embed(f"t{n}")) for n in range(8)]
    await eventually_async(lambda: len(desk.embedder) == 8)
    with pytest.raises(ProblemError) as raised:
        await desk.embed("a")
    assert raised.value.code == "overloaded"
    engine.open.set()
    await asyncio.gather(*tasks)
    desk.embedder.draining = True
    with pytest.raises(ProblemError) as raised:
        await desk.embed("a")
    assert raised.value.code == "draining"
