"""`okome up --engine … --kind ollama`: a cluster in front of an engine that runs already."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import ollama
import pytest

from tests.e2e.wire import MODEL, Reader, numbered, signed_in, start
from tests.support.cluster import Cluster, cluster_before
from tests.support.nets import own_octet
from tests.support.ollama_wire import OllamaWire
from tests.support.real_engine import RealEngine, reason_to_skip

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def front() -> Iterator[OllamaWire]:
    """Ollama's wire over a real engine of its own."""
    if reason := reason_to_skip():
        pytest.skip(reason)
    with RealEngine() as engine, OllamaWire(engine.url) as front:
        yield front


@pytest.fixture(scope="module")
def ollama_cluster(
    front: OllamaWire, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cluster]:
    directory, net = tmp_path_factory.mktemp("ollama"), f"127.89.{own_octet()}."
    with cluster_before(directory, net, front.url, "ollama", MODEL) as cluster:
        yield cluster


async def test_tokens_come_from_ollama_s_wire(front: OllamaWire, ollama_cluster: Cluster) -> None:
    with ollama.Client(host=front.url) as client:
        listed = client.list()
    assert MODEL in [model.model for model in listed.models]
    async with signed_in(ollama_cluster) as http:
        job_id = await start(http, ollama_cluster.url, 12)
        seen = await Reader(http, ollama_cluster.url, job_id).read()
        record = (await http.get(f"{ollama_cluster.url}/v1/jobs/{job_id}")).json()

    assert numbered(seen)
    assert seen[-1].event == "job_complete"
    assert record["engine"] == "ollama"
    assert 0 < record["usage"]["completion_tokens"] <= 12


def test_status_shows_the_foreign_engine(ollama_cluster: Cluster) -> None:
    engine = next(n for n in ollama_cluster.status()["nodes"] if n["role"] == "core_gpu")
    inventory = Path(ollama_cluster.state_dir, "inventory.yml").read_text(encoding="utf-8")

    assert engine["healthy"]
    assert engine["pid"] is None
    assert "kind: ollama" in inventory
