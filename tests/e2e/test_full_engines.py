"""Engines that are full, drained, killed or that lie, under the one-machine cluster's load.

Synthetic engines whose text counts: a token that is lost or repeated shows in it.
"""

from __future__ import annotations

import json
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.e2e.wire import Reader, notices, signed_in, text_of
from tests.support.cluster import Cluster
from tests.support.eventually import eventually_async
from tests.support.nets import own_octet
from tests.support.synthetic_engine import MODEL, SyntheticEngine, words

pytestmark = pytest.mark.cluster

# Long enough to be found running by whatever a test does meanwhile.
LONG = 400
POLICY = {
    "version": 1,
    "engines": {"east": {"slots": 2}, "west": {"slots": 2}, "liar": {"slots": 8}},
    "models": {
        "chat": {
            "engines": [{"engine": "east", "model": MODEL}, {"engine": "west", "model": MODEL}]
        },
        "lone": {"engines": [{"engine": "east", "model": MODEL}], "smaller": "small"},
        "small": {"engines": [{"engine": "west", "model": MODEL}]},
        "doubtful": {
            "engines": [{"engine": "liar", "model": MODEL}, {"engine": "west", "model": MODEL}]
        },
    },
    "aliases": {"default": "chat"},
    "overload": {"queue": 1, "wait_s": 60, "retry_after_s": 7},
}


class Liar(ThreadingHTTPServer):
    """Says that it is well, and answers every question with a page."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Lies)
        self.asked = 0
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()


class _Lies(BaseHTTPRequestHandler):
    server: Liar

    def do_GET(self) -> None:
        self._say(200, b"{}" if self.path == "/health" else b"<html>well</html>")

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        # The control plane tries engines too, under another name.
        self.server.asked += self.headers["User-Agent"] == "okome"
        self._say(500, b"<html>out of memory</html>")

    def _say(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Nothing."""


@dataclass
class Place:
    """The cluster, its engines, and a client of it."""

    cluster: Cluster
    east: SyntheticEngine
    west: SyntheticEngine
    liar: Liar
    policy: Path

    def engine(self, name: str) -> dict[str, Any]:
        """How the control plane sees an engine."""
        listed = json.loads(self.cluster.okome("engine", "list", "--json"))
        return next(engine for engine in listed["engines"] if engine["name"] == name)

    async def until_free(self) -> None:
        """Returns when no job is at any engine."""
        await eventually_async(
            lambda: all(self.engine(name)["jobs"] == 0 for name in ("east", "west")), 30
        )


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    directory = tmp_path_factory.mktemp("engines")
    cluster = Cluster(directory, f"127.91.{own_octet()}.")
    policy = directory / "policy.yml"
    policy.write_text(yaml.safe_dump(POLICY), encoding="utf-8")
    with SyntheticEngine(40.0) as east, SyntheticEngine(40.0) as west, Liar() as liar:
        content = yaml.safe_load(cluster.inventory.read_text(encoding="utf-8"))
        (host,) = content["all"]["children"]["core_gpu"]["hosts"].values()
        host["okome_engines"] = [
            {"name": name, "kind": "vllm", "port": 80, "model": MODEL, "context": 4096, "url": url}
            for name, url in (("east", east.url), ("west", west.url), ("liar", liar.url))
        ]
        cluster.inventory.write_text(yaml.safe_dump(content), encoding="utf-8")
        try:
            cluster.up(
                *("--policy", str(policy)),
                *("--set", "heartbeat=2", "--set", "streams_per_user=100"),
            )
            yield Place(cluster, east, west, liar, policy)
        finally:
            cluster.down()
            liar.shutdown()


@pytest.fixture
async def http(place: Place) -> AsyncIterator[httpx.AsyncClient]:
    async with signed_in(place.cluster) as http:
        yield http
    await place.until_free()


async def ask(
    http: httpx.AsyncClient, place: Place, model: str, tokens: int, prompt: str = "count"
) -> httpx.Response:
    body = {"model": model, "prompt": prompt, "max_tokens": tokens}
    return await http.post(f"{place.cluster.url}/v1/jobs", json=body)


async def begin(
    http: httpx.AsyncClient, place: Place, model: str, tokens: int, prompt: str = "count"
) -> Reader:
    answer = await ask(http, place, model, tokens, prompt)
    assert answer.status_code == 202, answer.text
    return Reader(http, place.cluster.url, answer.json()["job_id"])


async def cancel(http: httpx.AsyncClient, place: Place, *readers: Reader) -> None:
    for reader in readers:
        await http.post(f"{place.cluster.url}/v1/jobs/{reader.job_id}/cancel")


async def test_a_full_model_queues_then_refuses_and_whoever_waited_gets_all_its_tokens(
    place: Place, http: httpx.AsyncClient
) -> None:
    running = [await begin(http, place, "default", LONG) for _ in range(4)]
    for reader in running:
        await reader.read(until=1)
    waits = await begin(http, place, "chat", 10)
    assert (await waits.read(until=1))[0].body["position"] == 1
    refused = await ask(http, place, "chat", 10)
    assert (refused.status_code, refused.json()["code"]) == (503, "overloaded")
    assert refused.headers["retry-after"] == "7"
    await cancel(http, place, running[0])
    seen = await waits.read()
    assert notices(seen) == ["queued"]
    assert text_of(seen) == words(10)
    await cancel(http, place, *running[1:])


async def test_an_overloaded_model_is_answered_by_the_smaller_one_and_says_so(
    place: Place, http: httpx.AsyncClient
) -> None:
    running = [await begin(http, place, "lone", LONG) for _ in range(2)]
    reader = await begin(http, place, "lone", 10)
    seen = await reader.read()
    assert notices(seen) == ["limited"]
    assert text_of(seen) == words(10)
    job = (await http.get(f"{place.cluster.url}/v1/jobs/{reader.job_id}")).json()
    assert job["model"] == "small"
    await cancel(http, place, *running)


async def test_a_drained_engine_gets_nothing_new_and_what_runs_there_goes_on(
    place: Place, http: httpx.AsyncClient
) -> None:
    first = await begin(http, place, "lone", 200)
    await first.read(until=1)
    place.cluster.okome("engine", "drain", "east")
    try:
        others = [await begin(http, place, "chat", 10) for _ in range(2)]
        assert place.engine("east")["jobs"] == 1
        for reader in (first, *others):
            seen = await reader.read()
            assert seen[-1].event == "job_complete"
            assert notices(seen) == []
        assert text_of(first.seen) == words(200)
    finally:
        place.cluster.okome("engine", "resume", "east")


async def test_an_engine_that_lies_is_left_and_its_jobs_are_answered_elsewhere(
    place: Place, http: httpx.AsyncClient
) -> None:
    # Beginnings of their own, so that no engine is anybody's already.
    for n in range(16):
        seen = await (await begin(http, place, "doubtful", 3, f"count {n}")).read()
        assert text_of(seen) == words(3)
        # It failed before its first token, so nobody is told that another engine answers.
        assert notices(seen) == []
    assert place.liar.asked >= 3
    (model,) = place.engine("liar")["models"]
    assert place.engine("liar")["healthy"]
    assert model["breaker"] != "closed"
    assert model["state"] == "failing"
    asked = place.liar.asked
    for n in range(4):
        assert text_of(await (await begin(http, place, "doubtful", 3, f"again {n}")).read())
    assert place.liar.asked == asked


async def test_a_changed_policy_decides_within_seconds_and_a_broken_one_never_does(
    place: Place, http: httpx.AsyncClient
) -> None:
    async def named() -> set[str]:
        listed = (await http.get(f"{place.cluster.url}/v1/models")).json()
        return {model["id"] for model in listed["data"]}

    place.policy.write_text(yaml.safe_dump(POLICY | {"aliases": {"usual": "chat"}}))

    async def changed() -> bool:
        return "usual" in await named()

    await eventually_async(changed, 10)
    assert "default" not in await named()
    place.policy.write_text("version: 1\nmodels: {chat: {engines: [{engine: nowhere}]}}\n")

    def refused() -> bool:
        return "nowhere" in place.cluster.okome("policy", "show", "--json")

    await eventually_async(refused, 10)
    seen = await (await begin(http, place, "usual", 3)).read()
    assert text_of(seen) == words(3)
    place.policy.write_text(yaml.safe_dump(POLICY))

    async def back() -> bool:
        return "default" in await named()

    await eventually_async(back, 10)


async def test_a_killed_engines_answers_go_on_and_new_ones_go_elsewhere(
    place: Place, http: httpx.AsyncClient
) -> None:
    def known_to_continue() -> bool:
        models = place.engine("east")["models"] + place.engine("west")["models"]
        return all(model["continues"] for model in models)

    await eventually_async(known_to_continue, 30)
    running = [await begin(http, place, "chat", 300) for _ in range(2)]
    for reader in running:
        await reader.read(until=10)
    # Of one beginning: the engine that has it in its cache serves both.
    engines = {"east": place.east, "west": place.west}
    (serving,) = [name for name in engines if place.engine(name)["jobs"] == 2]
    engines[serving].kill()
    late = await begin(http, place, "chat", 10)
    assert text_of(await late.read()) == words(10)
    for reader in running:
        seen = await reader.read()
        assert seen[-1].event == "job_complete", seen[-1]
        assert text_of(seen) == words(300)
        assert notices(seen) == ["engine_moved"]
