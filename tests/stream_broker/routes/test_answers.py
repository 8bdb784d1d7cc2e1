"""What a broker answers to paths and methods that it does not have."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from starlette.requests import Request

from stream_broker.routes.reading import wants_events
from tests.conformance.targets import served
from tests.proof.twin import Twin, cluster_without_log
from tests.stream_broker.building import API_KEY


@asynccontextmanager
async def asked(state: Path) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a broker."""
    async with (
        served(Twin("okome-node-03", cluster_without_log(), state, None)) as url,
        httpx.AsyncClient(base_url=url, trust_env=False) as http,
    ):
        yield http


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/v1/jobs", {"POST"}),
        ("POST", "/v1/stream", {"GET", "HEAD"}),
        ("DELETE", "/v1/chat/completions", {"POST"}),
    ],
)
async def test_another_method_is_refused_with_the_right_ones(
    tmp_path: Path, method: str, path: str, allowed: set[str]
) -> None:
    async with asked(tmp_path) as http:
        answer = await http.request(method, path)
    assert answer.status_code == 405
    assert set(answer.headers["allow"].split(", ")) == allowed


async def test_nobody_is_sent_to_another_url(tmp_path: Path) -> None:
    async with asked(tmp_path) as http:
        answer = await http.get("/v1/jobs/")
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


@pytest.mark.parametrize("encoding", ["gzip", "GZIP", "deflate"])
async def test_a_body_that_is_encoded_is_refused(tmp_path: Path, encoding: str) -> None:
    headers = {"Authorization": f"Bearer {API_KEY}", "Content-Encoding": encoding}
    async with asked(tmp_path) as http:
        answer = await http.post("/v1/jobs", json={"model": "m"}, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_media_type")


@pytest.mark.parametrize(
    ("accept", "events"),
    [
        ("text/event-stream", True),
        ("application/json, TEXT/Event-Stream;q=0.5", True),
        ("text/event-stream;q=0", False),
        ("text/event-stream; q=0.0", False),
        ("application/json", False),
        ("x-text/event-stream", False),
    ],
)
def test_an_event_stream_is_for_who_asks_for_it(accept: str, events: bool) -> None:
    scope = {"type": "http", "headers": [(b"accept", accept.encode())]}
    assert wants_events(Request(scope)) is events
