"""The one-machine cluster with the real engine, started once for all end-to-end tests."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest

from okome.errors import OkomeError
from okome.model import ensure_model
from okome.paths import cache_dir
from tests.support.cluster import Cluster
from tests.support.nets import own_octet


def reason_without_engine() -> str | None:
    """Why no cluster can be started here; None if one can."""
    if importlib.util.find_spec("xllamacpp") is None:
        return "the embedded engine (xllamacpp) is not installed"
    try:
        ensure_model(cache_dir(os.environ), lambda _: None)
    except OkomeError as error:
        return f"the model cannot be had: {error}"
    return None


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """The running cluster. A test that stops a node starts it again."""
    if reason := reason_without_engine():
        pytest.skip(reason)
    # The third octet keeps two test runs on one machine apart.
    running = Cluster(tmp_path_factory.mktemp("cluster"), f"127.87.{own_octet()}.")
    try:
        # Keep-alives are to be seen in every long pause, not only after 15 s.
        running.up("--set", "heartbeat=2")
        yield running
    finally:
        running.down()


@pytest.fixture
async def http(cluster: Cluster) -> AsyncIterator[httpx.AsyncClient]:
    """A client that is signed in by the cluster's API key."""
    headers = {"Authorization": f"Bearer {cluster.api_key}"}
    async with httpx.AsyncClient(headers=headers, timeout=30, trust_env=False) as client:
        yield client
