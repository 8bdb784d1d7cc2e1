"""Each kind of engine under load, overfilled, drained, frozen and killed: who is asked then, what
the client is told, and that no token is lost.

vLLM's is skipped where there is none (`tests/support/vllm_engine.py`). How long things took
is in the report of `--junitxml`, and in `docs/engines.md`.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Iterator

import httpx
import pytest

from tests.e2e.conftest import reason_without_engine
from tests.e2e.trials import KINDS, RETRY_AFTER_S, SHORTENED, SLOTS, Kind, Place, trial_place
from tests.e2e.wire import Reader, notices, signed_in
from tests.support import vllm_engine
from tests.support.eventually import eventually_async

pytestmark = pytest.mark.cluster
Tell = Callable[[str, float], None]
# So many events show that an answer goes on.
MORE = 10


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    if reason := reason_without_engine():
        pytest.skip(reason)
    with trial_place(tmp_path_factory.mktemp("trials")) as place:
        yield place


@pytest.fixture(params=list(KINDS))
def kind(request: pytest.FixtureRequest) -> Kind:
    if request.param == "vllm" and (reason := vllm_engine.reason_to_skip()):
        pytest.skip(reason)
    return KINDS[request.param]


@pytest.fixture
async def http(place: Place) -> AsyncIterator[httpx.AsyncClient]:
    async with signed_in(place.cluster) as http:
        await place.hold(http)
        yield http
        await place.clear(http)


@pytest.fixture
def tell(kind: Kind, record_testsuite_property: Callable[[str, object], None]) -> Tell:
    """Notes seconds for the report."""
    return lambda what, seconds: record_testsuite_property(
        f"{kind.engine}: seconds until {what}", round(seconds, 2)
    )


async def loaded(place: Place, http: httpx.AsyncClient, kind: Kind) -> list[Reader]:
    """Two jobs at the engine, which have begun to answer where it streams."""
    running = [await place.begin_at(http, kind) for _ in range(2)]
    for reader in running if kind.streams else ():
        await reader.read(until=5)
    return running


async def gone_on(
    place: Place, http: httpx.AsyncClient, kind: Kind, reader: Reader, *, moved: bool = False
) -> str:
    """The whole text of a job that goes on, at another engine if it `moved`: of a stream it is
    enough to see more of it."""
    while kind.streams and moved and not notices(reader.seen):
        assert (await reader.read(until=len(reader.seen) + 1))[-1].event in ("token", "notice")
    if kind.streams:
        await reader.read(until=len(reader.seen) + MORE)
        await place.cancel(http, reader)
    seen = await reader.read()
    expected = "job_cancelled" if kind.streams else "job_complete"
    assert seen[-1].event == expected, seen[-1].data
    return await place.whole(http, reader)


async def refused(place: Place, http: httpx.AsyncClient, kind: Kind, code: str) -> None:
    """What only this engine can answer is refused, and the client told when to come back."""
    answer = await place.ask(http, kind.engine, kind.short)
    assert (answer.status_code, answer.json()["code"]) == (503, code), answer.text
    assert int(answer.headers["retry-after"]) > 0


def moved_at(reader: Reader) -> float:
    """When the first token of the other engine came (Unix seconds)."""
    codes = [block.body.get("code") for block in reader.seen]
    behind = codes.index("engine_moved") if "engine_moved" in codes else 0
    moments = [block.body["ts"] for block in reader.seen[behind:] if block.event == "token"]
    return float(moments[0])


async def test_it_sheds_in_steps_when_it_is_overfilled(
    place: Place, http: httpx.AsyncClient, kind: Kind
) -> None:
    await until_alone(place, kind)
    running = [await place.begin(http, kind.engine, kind.long) for _ in range(SLOTS)]
    smaller = [await place.begin(http, kind.engine, kind.long) for _ in range(SLOTS)]
    assert (place.jobs(kind.engine), place.jobs(kind.spare)) == (SLOTS, SLOTS)
    waits = await place.begin(http, kind.engine, kind.short)
    refused = await place.ask(http, kind.engine, kind.short)
    assert (refused.status_code, refused.json()["code"]) == (503, "overloaded")
    assert refused.headers["retry-after"] == str(RETRY_AFTER_S)
    await place.release(http)
    await place.cancel(http, *running, *smaller)
    seen = await waits.read()
    assert notices(seen) == (["limited", "queued"] if kind.streams else ["queued"])
    assert seen[-1].event == "job_complete"
    assert seen[-1].body["usage"]["completion_tokens"] <= SHORTENED
    assert await place.whole(http, waits)
    for reader in running:
        assert notices(await reader.read()) == []
        await place.whole(http, reader)
    for reader in smaller:
        assert notices(await reader.read()) == ["limited"]
        record = (await http.get(f"{place.cluster.url}/v1/jobs/{reader.job_id}")).json()
        assert record["model"] == f"{kind.engine}-smaller"
        await place.whole(http, reader)


async def test_what_runs_there_goes_on_while_it_is_drained(
    place: Place, http: httpx.AsyncClient, kind: Kind
) -> None:
    running = await loaded(place, http, kind)
    place.drain(kind.engine)
    try:
        new = [await place.begin(http, f"{kind.engine}-pair", kind.long) for _ in range(2)]
        assert place.jobs(kind.spare) == 2
        await refused(place, http, kind, "no_engine")
    finally:
        place.drain(kind.engine, "resume")
    await place.release(http)
    for reader in (*running, *new):
        assert await gone_on(place, http, kind, reader)
    await place.hold(http)
    after = await place.begin_at(http, kind)
    await place.release(http)
    assert await gone_on(place, http, kind, after)
    for reader in (*running, *new, after):
        assert notices(reader.seen) == []


async def test_a_frozen_one_gets_nothing_new_and_its_answers_go_on_elsewhere(
    place: Place, http: httpx.AsyncClient, kind: Kind, tell: Tell
) -> None:
    await until_proven(place, kind)
    running = await loaded(place, http, kind)
    place.freeze(kind.engine)
    frozen = time.time()
    await eventually_async(lambda: place.state(kind.engine) != "up", 10)
    tell("it got nothing new", time.time() - frozen)
    new = await place.begin(http, f"{kind.engine}-pair", kind.long)
    instead = await place.begin(http, kind.engine, kind.long)
    assert (place.jobs(kind.engine), place.jobs(kind.spare)) == (2, 2)
    await place.release(http)
    assert await gone_on(place, http, kind, new)
    assert await gone_on(place, http, kind, instead)
    assert (notices(new.seen), notices(instead.seen)) == ([], ["limited"])
    for reader in running:
        assert await gone_on(place, http, kind, reader, moved=True)
        assert notices(reader.seen) == (["engine_moved"] if kind.streams else [])
    tell("the last job of the frozen one went on", max(map(moved_at, running)) - frozen)
    place.thaw(kind.engine)
    await eventually_async(lambda: place.state(kind.engine) == "up", 30)
    back = await place.begin(http, kind.engine, kind.short)
    await place.release(http)
    assert [(await back.read())[-1].event, *notices(back.seen)] == ["job_complete"]
    assert await place.whole(http, back)


async def test_a_killed_one_s_answers_go_on_elsewhere_or_end_with_an_error(
    place: Place, http: httpx.AsyncClient, kind: Kind, tell: Tell
) -> None:
    await until_proven(place, kind)
    alone = await place.begin(http, kind.engine, kind.long)
    if kind.streams:
        await alone.read(until=3)
    running = await loaded(place, http, kind)
    place.kill(kind.engine)
    killed = time.time()
    new = await place.begin(http, f"{kind.engine}-pair", kind.short)
    await place.release(http)
    end = (await alone.read())[-1]
    assert (end.event, end.body["retryable"]) == ("job_error", True), end.data
    assert end.body["code"] in ("engine_unreachable", "engine_truncated", "engine_error")
    tell("the error where nobody stands by", time.time() - killed)
    for reader in running:
        assert await gone_on(place, http, kind, reader, moved=True)
        assert notices(reader.seen) == (["engine_moved"] if kind.streams else [])
    tell("the last job of the killed one went on", max(map(moved_at, running)) - killed)
    assert [(await new.read())[-1].event, *notices(new.seen)] == ["job_complete"]
    for reader in (alone, new):
        await place.whole(http, reader)
    place.keep_down(kind.engine)
    await eventually_async(lambda: place.state(kind.engine) == "down", 10)
    await refused(place, http, kind, "no_engine")
    place.bring_back(kind.engine)


async def until_alone(place: Place, kind: Kind) -> None:
    """Returns once the engine says that nobody is at it: the control plane's first trial of how
    it goes on behind a text has a seat like any other. Ollama's is put off until it is used."""

    def alone() -> bool:
        engine = place.engines()[kind.engine]
        tried = all(model["continues"] for model in engine["models"])
        busy = engine["running"] or engine["waiting"]
        return not busy and (tried or kind.engine != "llamacpp")

    await eventually_async(alone, 60)


async def until_proven(place: Place, kind: Kind) -> None:
    """Returns once the one that stands by was seen to go on behind a text."""

    def proven() -> bool:
        models = place.engines()[kind.spare]["models"]
        return all(model["continues"] for model in models) or not kind.streams

    await eventually_async(proven, 60)
