"""A cluster with every kind of engine that there is here, each of which can be frozen and killed.

Each engine has a model of its own name, which only it serves, and one with `-pair` behind the
name, for which another stands by; what it has too much is answered by a model of that one.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import yaml

from tests.e2e.wire import MODEL, STORY, Reader, numbered, text_of
from tests.support import vllm_engine
from tests.support.cluster import Cluster
from tests.support.eventually import eventually_async
from tests.support.nets import own_octet
from tests.support.ollama_wire import OllamaWire
from tests.support.real_engine import RealEngine, ServerProcess
from tests.support.tensorflow_wire import TensorFlowWire
from tests.support.vllm_engine import VllmEngine

SLOTS = 4
SHORTENED = 16
RETRY_AFTER_S = 7
# Of silence: longer than a busy machine's engines need for a first token, and short beside what
# they are allowed. vLLM takes both cores of a small one.
IDLE_S = 8 if vllm_engine.reason_to_skip() else 30
PREDICTION = "half_plus_two"
EMBEDDED_NODE = "okome-core-gpu"


@dataclass(frozen=True)
class Kind:
    """An engine on trial. `spare`: the one that stands by; `short`: a job of some tokens; `long`:
    one that runs until it is cancelled. One shot is answered when it is released."""

    engine: str
    spare: str
    short: dict[str, Any]
    long: dict[str, Any]

    @property
    def beginning(self) -> str:
        """A long job's prompt, to be numbered."""
        return "%(n)d. " + STORY if self.streams else '["held", %(n)d]'

    @property
    def streams(self) -> bool:
        """Does it answer in tokens, rather than at once?"""
        return self.engine != "tensorflow"


# Without chance in it the small model repeats itself for ever; with some it may come to an end.
_ENDLESS = {"prompt": STORY, "max_tokens": 1500, "temperature": 0}
_TOKENS = ({"prompt": STORY, "max_tokens": 24}, _ENDLESS)
_SHOTS = ({"prompt": '["held"]'}, {"prompt": '["held"]'})
# Of two engines of a kind one beginning in two leads to either.
_BEGINNINGS = 20
KINDS = {
    "llamacpp": Kind("llamacpp", "ollama", *_TOKENS),
    "vllm": Kind("vllm", "ollama", *_TOKENS),
    "ollama": Kind("ollama", "llamacpp", *_TOKENS),
    "tensorflow": Kind("tensorflow", "tensorflow2", *_SHOTS),
}


@dataclass
class Place:
    """The cluster, and how to send signals to its engines."""

    cluster: Cluster
    signals: dict[str, Callable[[int], None]] = field(default_factory=dict)
    beginnings: Iterator[int] = field(default_factory=count)
    shots: dict[str, str] = field(default_factory=dict)
    frozen: set[str] = field(default_factory=set)
    dead: set[str] = field(default_factory=set)
    begun: list[Reader] = field(default_factory=list)

    def engines(self) -> dict[str, dict[str, Any]]:
        """Every engine by name, as the control plane knows it now."""
        listed = self._admin("GET", "/engines")["engines"]
        return {engine["name"]: engine for engine in listed}

    def jobs(self, engine: str) -> int:
        """Jobs that were sent to an engine and have not ended."""
        count: int = self.engines()[engine]["jobs"]
        return count

    def state(self, engine: str) -> str:
        """Of an engine's models; the first one speaks for all."""
        state: str = self.engines()[engine]["models"][0]["state"]
        return state

    def drain(self, engine: str, verb: str = "drain") -> None:
        """Drains an engine, or resumes it."""
        self._admin("POST", f"/engines/{engine}/{verb}")

    def freeze(self, engine: str) -> None:
        """It says nothing any more, and its connections stay."""
        self.frozen.add(engine)
        self.signals[engine](signal.SIGSTOP)

    def thaw(self, engine: str) -> None:
        """It goes on where it was."""
        self.frozen.discard(engine)
        self.signals[engine](signal.SIGCONT)

    def kill(self, engine: str) -> None:
        """As the out-of-memory killer does it."""
        self.dead.add(engine)
        self.signals[engine](signal.SIGKILL)

    def keep_down(self, engine: str) -> None:
        """The launcher starts the embedded engine again, unless it is told not to."""
        if engine == "llamacpp":
            self.cluster.stop(EMBEDDED_NODE)

    def bring_back(self, engine: str) -> None:
        """The embedded engine stands by for another: it must be there again."""
        if engine == "llamacpp":
            self.cluster.start(EMBEDDED_NODE)

    async def hold(self, http: httpx.AsyncClient) -> None:
        """One-shot engines answer no more."""
        for engine in self.shots.keys() - self.dead:
            await http.post(f"{self.shots[engine]}/hold")

    async def release(self, http: httpx.AsyncClient) -> None:
        """They do again, those that are not frozen or dead."""
        for engine in self.shots.keys() - self.frozen - self.dead:
            await http.post(f"{self.shots[engine]}/release")

    async def begin(self, http: httpx.AsyncClient, model: str, job: dict[str, Any]) -> Reader:
        """Starts a job, which must be accepted."""
        answer = await self.ask(http, model, job)
        assert answer.status_code == 202, answer.text
        self.begun.append(Reader(http, self.cluster.url, answer.json()["job_id"]))
        return self.begun[-1]

    async def begin_at(self, http: httpx.AsyncClient, kind: Kind) -> Reader:
        """Starts a job that goes to the engine. Between two of a kind a conversation's beginning
        decides, so that one is looked for which leads there."""
        await eventually_async(lambda: self.state(kind.engine) == "up", 30)
        for _ in range(_BEGINNINGS):
            before = self.jobs(kind.engine)
            job = kind.long | {"prompt": kind.beginning % {"n": next(self.beginnings)}}
            reader = await self.begin(http, f"{kind.engine}-pair", job)
            if self.jobs(kind.engine) > before:
                return reader
            await self.cancel(http, reader)
        raise AssertionError(f"nothing goes to {kind.engine}")

    async def ask(self, http: httpx.AsyncClient, model: str, job: dict[str, Any]) -> httpx.Response:
        """Asks for a job."""
        return await http.post(f"{self.cluster.url}/v1/jobs", json={"model": model, **job})

    async def cancel(self, http: httpx.AsyncClient, *readers: Reader) -> None:
        """Cancels jobs."""
        for reader in readers:
            await http.post(f"{self.cluster.url}/v1/jobs/{reader.job_id}/cancel")

    async def clear(self, http: httpx.AsyncClient) -> None:
        """Returns once no engine is frozen, and no job at any."""
        for engine in list(self.frozen):
            self.thaw(engine)
        begun, self.begun = self.begun, []
        await self.cancel(http, *begun)
        await eventually_async(lambda: not any(e["jobs"] for e in self.engines().values()), 30)

    async def whole(self, http: httpx.AsyncClient, reader: Reader) -> str:
        """The text of a job that has ended: every number is there once, and whoever reads it
        anew at any other broker, or looks at its record, finds the same."""
        assert numbered(reader.seen)
        for node in ("okome-node-03", "okome-node-06"):
            again = Reader(http, self.cluster.broker_url(node), reader.job_id)
            assert [b.data for b in await again.read()] == [b.data for b in reader.seen]
        record = (await http.get(f"{self.cluster.url}/v1/jobs/{reader.job_id}")).json()
        text = text_of(reader.seen)
        assert (record["text"], record["last_seq"]) == (text, len(reader.seen))
        return text

    def _admin(self, method: str, path: str) -> Any:
        key = (self.cluster.state_dir / "credentials" / "admin_key").read_text(encoding="ascii")
        answer = httpx.request(
            method,
            f"http://{self.cluster.net}25:8000/internal/v1/admin{path}",
            headers={"Authorization": f"Bearer {key}"},
            trust_env=False,
        )
        assert answer.status_code == 200, answer.text
        return answer.json()


@contextmanager
def trial_place(directory: Path) -> Iterator[Place]:
    """All of it, running."""
    cluster = Cluster(directory, f"127.83.{own_octet()}.")
    place = Place(cluster)
    with ExitStack() as stack:
        behind = stack.enter_context(RealEngine())
        ollama = stack.enter_context(OllamaWire(behind.url))
        shots = [stack.enter_context(TensorFlowWire()) for _ in range(2)]
        listed = [
            {"name": "llamacpp", "kind": "vllm", "port": 8000, "model": MODEL, "context": 2048},
            _entry("ollama", "ollama", ollama.url, MODEL),
            _entry("tensorflow", "tf_serving", shots[0].url, PREDICTION),
            _entry("tensorflow2", "tf_serving", shots[1].url, PREDICTION),
        ]
        place.shots = {"tensorflow": shots[0].url, "tensorflow2": shots[1].url}
        place.signals = {
            "llamacpp": lambda number: os.kill(cluster.node(EMBEDDED_NODE)["pid"], number),
            "ollama": _to(ollama),
            "tensorflow": _to(shots[0]),
            "tensorflow2": _to(shots[1]),
        }
        if vllm_engine.reason_to_skip() is None:
            vllm = stack.enter_context(VllmEngine(directory / "vllm.log"))
            listed.append(_entry("vllm", "vllm", vllm.url, vllm_engine.MODEL))
            place.signals["vllm"] = lambda number: os.killpg(vllm.process.pid, number)
        content = yaml.safe_load(cluster.inventory.read_text(encoding="utf-8"))
        content["all"]["children"]["core_gpu"]["hosts"][EMBEDDED_NODE]["okome_engines"] = listed
        cluster.inventory.write_text(yaml.safe_dump(content), encoding="utf-8")
        policy = directory / "policy.yml"
        policy.write_text(yaml.safe_dump(_policy([str(one["name"]) for one in listed])))
        stack.callback(cluster.down)
        cluster.up(
            *("--policy", str(policy), "--set", f"engine_idle_timeout={IDLE_S}"),
            *("--set", "heartbeat=2", "--set", "streams_per_user=100"),
        )
        yield place


def _entry(name: str, kind: str, url: str, model: str) -> dict[str, Any]:
    return {"name": name, "kind": kind, "port": 80, "model": model, "context": 2048, "url": url}


def _to(server: ServerProcess) -> Callable[[int], None]:
    return server.process.send_signal


def _policy(engines: list[str]) -> dict[str, Any]:
    models: dict[str, Any] = {}
    for name, kind in KINDS.items():
        if name in engines:
            own, spare = _seat(name), _seat(kind.spare)
            models[name] = {"engines": [own], "smaller": f"{name}-smaller"}
            models[f"{name}-smaller"] = {"engines": [spare]}
            models[f"{name}-pair"] = {"engines": [own, spare]}
    return {
        "version": 1,
        "engines": {name: {"slots": SLOTS} for name in engines},
        "models": models,
        "overload": {
            "shorten_at": 1.0,
            "shorten_to": SHORTENED,
            "queue": 1,
            "wait_s": 60,
            "retry_after_s": RETRY_AFTER_S,
        },
    }


def _seat(engine: str) -> dict[str, str]:
    models = {"vllm": vllm_engine.MODEL, "llamacpp": MODEL, "ollama": MODEL}
    return {"engine": engine, "model": models.get(engine, PREDICTION)}
