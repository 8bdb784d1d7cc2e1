"""What a broker answers to paths and methods that it does not have."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from tests.conformance.targets import served
from tests.proof.twin import Twin, cluster_without_log


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
