"""Every public call, fuzzed from its OpenAPI description through the ingress."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import schemathesis
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

import stream_broker
from tests.support.cluster import Cluster
from tests.support.nets import own_octet
from tests.support.synthetic_engine import MODEL, SyntheticEngine

pytestmark = pytest.mark.cluster

DESCRIPTION = Path(stream_broker.__file__).with_name("openapi.json")
SCHEMA = schemathesis.openapi.from_path(DESCRIPTION)
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
# Not plain HTTP.
CALLS = SCHEMA.exclude(path="/v1/ws")


@pytest.fixture(scope="module")
def fuzzed() -> Iterator[dict[str, Any]]:
    """A cluster whose engine answers at once; what a call to it needs."""
    with tempfile.TemporaryDirectory(prefix="okome-fuzz-") as directory:
        cluster = Cluster(Path(directory), f"127.92.{own_octet()}.")
        with SyntheticEngine(5000.0) as engine:
            try:
                cluster.up(
                    *("--engine", engine.url, "--kind", "vllm", "--model", MODEL),
                    *("--set", "streams_per_user=10000"),
                )
                key = cluster.status()["api_key"]
                yield {"base_url": cluster.url, "headers": {"Authorization": f"Bearer {key}"}}
            finally:
                cluster.down()


@CALLS.parametrize()
@hypothesis.settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=list(hypothesis.HealthCheck),
    derandomize=True,
)
def test_no_input_breaks_a_call(case: schemathesis.Case, fuzzed: dict[str, Any]) -> None:
    if isinstance(case.body, dict) and "model" in case.body:
        # Else hardly anything would come past the first check.
        case.body["model"] = MODEL
    case.call_and_validate(**fuzzed, checks=CHECKS, timeout=30)
