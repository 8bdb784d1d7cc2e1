"""What `okome verify` asks of those who look on, and which model it asks for an answer."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from inventory.load import LOCAL, load_cluster
from inventory.model import Cluster, EngineSpec
from okome.deploy import verify
from okome.deploy.verify import Site
from okome.errors import OkomeError

CLUSTER = load_cluster(LOCAL.with_name("cluster.yml"))


@dataclass
class Prometheus:
    """One that tells what it is given; the last answer stays."""

    answers: list[list[dict[str, Any]]]
    port: int = 0
    asked: list[str] = field(default_factory=list)


def up(job: str, value: int) -> dict[str, Any]:
    return {"metric": {"job": job, "node": "okome-node-03"}, "value": [0, str(value)]}


@pytest.fixture(name="prometheus")
def prometheus_fixture() -> Iterator[Prometheus]:
    told = Prometheus([[up("okome-broker", 1), up("node", 1)]])

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            told.asked.append(self.path)
            found = told.answers[0] if len(told.answers) == 1 else told.answers.pop(0)
            body = json.dumps({"data": {"result": found}}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    told.port = server.server_port
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield told
    server.shutdown()
    thread.join()
    server.server_close()


def site(prometheus: Prometheus, http: httpx.Client) -> Site:
    nodes = tuple(
        replace(node, address="127.0.0.1", port=prometheus.port) if node.number == 9 else node
        for node in CLUSTER.nodes
        if node.number != 10
    )
    return Site(replace(CLUSTER, nodes=nodes), http, "key", Path("nowhere"))


def test_those_who_look_on_have_to_see_everybody(
    prometheus: Prometheus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verify, "_PAUSE_S", 0.01)
    with httpx.Client() as http:
        # Nothing asked yet, then one that does not answer yet, then all.
        well = prometheus.answers[0]
        prometheus.answers = [[], [up("okome-broker", 0), up("node", 1)], well]
        assert verify.watched(site(prometheus, http)) == "2 of 2 targets of 1 Prometheus answer"
        assert len(prometheus.asked) == 3

        monkeypatch.setattr(verify, "_SCRAPED_S", 0.0)
        prometheus.answers = [[up("okome-broker", 0), up("node", 1)]]
        with pytest.raises(OkomeError, match="no answer of okome-broker of okome-node-03"):
            verify.watched(site(prometheus, http))
        prometheus.answers = [[]]
        with pytest.raises(OkomeError, match="asks nobody"):
            verify.watched(site(prometheus, http))


def test_the_answer_is_asked_of_a_model_that_one_can_chat_with() -> None:
    def first(*kinds: str) -> str:
        engines = tuple(
            EngineSpec(kind=kind, base_url="http://e", model=kind, context=1)  # type: ignore[arg-type]
            for kind in kinds
        )
        nodes = tuple(
            replace(node, engines=engines) if node.role == "core_gpu" else node
            for node in CLUSTER.nodes
        )
        cluster: Cluster = replace(CLUSTER, nodes=nodes)
        with httpx.Client() as http:
            return Site(cluster, http, "key", Path("nowhere")).model

    assert first("tf_serving", "ollama") == "ollama"
    assert first("vllm", "ollama") == "vllm"
    assert first("tf_serving") == "tf_serving"


def test_the_thinking_of_a_reasoning_model_is_an_answer() -> None:
    # It may think for longer than the few tokens that it is asked for.
    assert verify._piece(SimpleNamespace(content=None, reasoning_content="so")) == "so"
    assert verify._piece(SimpleNamespace(content="x")) == "x"
    assert verify._piece(SimpleNamespace(content=None)) == ""
