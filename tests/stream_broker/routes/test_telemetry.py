"""What browsers may tell, and that nothing else they send is counted."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from contracts.policy import KeyEntry, hash_key
from stream_broker.engines.deltas import Text
from tests.conformance.targets import served
from tests.proof.twin import Twin, cluster_without_log
from tests.stream_broker.building import API_KEY, JOB, policy
from tests.support.eventually import eventually_async

OTHER_KEY = "ok_bob"
MINE = {"Authorization": f"Bearer {API_KEY}"}


class Place:
    """A broker that is asked over HTTP, with one job of the user."""

    def __init__(self, twin: Twin, http: httpx.AsyncClient) -> None:
        self.twin = twin
        self.http = http

    async def job(self, model: str = "small") -> str:
        answer = await self.http.post("/v1/jobs", json={"model": model, "prompt": "hi"})
        assert answer.status_code == 202, answer.text
        return str(answer.json()["job_id"])

    async def tell(self, raw: str | bytes, key: str = API_KEY) -> httpx.Response:
        headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        return await self.http.post("/v1/telemetry", content=raw, headers=headers)

    async def scraped(self) -> str:
        return (await self.http.get("/metrics")).text

    async def value(self, sample: str) -> float:
        for line in (await self.scraped()).splitlines():
            if line.startswith(sample + " "):
                return float(line.rpartition(" ")[2])
        return 0.0


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    twin = Twin("okome-node-03", cluster_without_log(), tmp_path / "state", None)
    bob = KeyEntry(user_id="user-2", tier="free", scopes=["generate"])
    known = policy().key_hashes | {hash_key(OTHER_KEY): bob}
    twin.control.snapshot = policy(key_hashes=known)
    async with (
        served(twin) as url,
        httpx.AsyncClient(base_url=url, headers=MINE, trust_env=False) as http,
    ):
        yield Place(twin, http)


def report(job_id: str, **changes: Any) -> dict[str, Any]:
    told = {"job_id": job_id, "ttft_ms": 120, "gaps_ms": [20, 30.5], "stalls": 1, "reconnects": 2}
    return told | changes


async def test_a_report_is_counted_once(place: Place) -> None:
    job_id = await place.job()
    for _ in range(2):
        assert (await place.tell(json.dumps(report(job_id)))).status_code == 204
    assert await place.value("okome_client_gap_seconds_count") == 2
    assert await place.value("okome_client_time_to_first_token_seconds_count") == 1
    assert await place.value("okome_client_stalls_total") == 1
    assert await place.value("okome_client_reconnects_total") == 2
    assert await place.value('okome_client_reports_total{outcome="taken"}') == 1
    assert await place.value('okome_client_reports_total{outcome="repeated"}') == 1


ABSURD = {
    "negative": ('"ttft_ms": -1', "invalid_request", "ttft_ms"),
    "negative gap": ('"gaps_ms": [5, -0.1]', "invalid_request", "gaps_ms"),
    "NaN": ('"ttft_ms": NaN', "invalid_json", None),
    "infinity": ('"gaps_ms": [Infinity]', "invalid_json", None),
    "a number beyond all": ('"ttft_ms": 1e999', "invalid_json", None),
    "a day": ('"ttft_ms": 86400000', "invalid_request", "ttft_ms"),
    "too many gaps": (f'"gaps_ms": [{",".join(["1"] * 4097)}]', "invalid_request", "gaps_ms"),
    "a million gaps": (f'"gaps_ms": [{",".join(["1"] * 1_000_000)}]', "payload_too_large", None),
    "words": ('"gaps_ms": ["slow"]', "invalid_request", "gaps_ms"),
    "no list": ('"gaps_ms": 5', "invalid_request", "gaps_ms"),
    "half a stall": ('"stalls": 0.5', "invalid_request", "stalls"),
    "negative stalls": ('"stalls": -3', "invalid_request", "stalls"),
    "too many stalls": ('"stalls": 100001', "invalid_request", "stalls"),
    "true": ('"reconnects": true', "invalid_request", "reconnects"),
}


@pytest.mark.parametrize(("member", "code", "field"), ABSURD.values(), ids=ABSURD.keys())
async def test_absurd_reports_are_refused_and_counted(
    place: Place, member: str, code: str, field: str | None
) -> None:
    job_id = await place.job()
    answer = await place.tell(f'{{"job_id": "{job_id}", {member}}}')
    problem = answer.json()
    assert (problem["code"], answer.status_code) == (code, problem["status"])
    assert field is None or problem["field"].startswith(field)
    assert await place.value(f'okome_client_reports_total{{outcome="{code}"}}') == 1
    assert await place.value("okome_client_gap_seconds_count") == 0
    assert await place.value("okome_client_time_to_first_token_seconds_count") == 0
    assert await place.value("okome_client_stalls_total") == 0


@pytest.mark.parametrize("job_id", [JOB, "no-such-job", ""])
async def test_a_job_that_is_not_there_is_refused(place: Place, job_id: str) -> None:
    answer = await place.tell(json.dumps(report(job_id)))
    assert answer.status_code in (404, 421)
    assert answer.json()["code"] in ("unknown_job", "not_here")
    assert await place.value("okome_client_gap_seconds_count") == 0


async def test_another_users_job_does_not_exist(place: Place) -> None:
    job_id = await place.job()
    answer = await place.tell(json.dumps(report(job_id)), OTHER_KEY)
    assert (answer.status_code, answer.json()["code"]) == (404, "unknown_job")
    assert await place.value('okome_client_reports_total{outcome="unknown_job"}') == 1
    assert await place.value("okome_client_gap_seconds_count") == 0


async def test_without_a_credential_nothing_is_counted(place: Place) -> None:
    answer = await place.tell("{}", "ok_nobody")
    assert answer.status_code == 401
    assert await place.value('okome_client_reports_total{outcome="unauthenticated"}') == 1


async def test_names_that_clients_make_up_are_never_labels(place: Place) -> None:
    """Even where a control plane would grant them."""
    for number in range(30):
        job_id = await place.job(f"made-up-{number}")
        await eventually_async(lambda: place.twin.engines.streams)
        place.twin.broker.runner.cancel(job_id, "client")
    cancelled = 'event="job_cancelled",kind="job",model="other"'
    sample = f'okome_broker_jobs_total{{code="client",{cancelled}}}'
    await eventually_async(lambda: not place.twin.broker.runner.jobs)
    assert await place.value(sample) == 30
    assert "made-up" not in await place.scraped()


async def test_exemplars_are_told_to_who_asks_for_openmetrics(place: Place) -> None:
    await place.tell(json.dumps(report(job_id := await place.job())))
    accept = {"Accept": "application/openmetrics-text;version=1.0.0,text/plain;q=0.5"}
    answer = await place.http.get("/metrics", headers=accept)
    assert answer.headers["Content-Type"].startswith("application/openmetrics-text")
    assert answer.text.endswith("# EOF\n")
    assert f'# {{job_id="{job_id}"}} 0.12' in answer.text
    plain = await place.http.get("/metrics")
    assert plain.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    assert job_id not in plain.text


async def test_a_stream_and_its_resume_are_measured(place: Place) -> None:
    job_id = await place.job()
    await eventually_async(lambda: place.twin.engines.streams)
    speech = place.twin.engines.streams[-1]
    async with place.http.stream("GET", f"/v1/stream?job_id={job_id}") as answer:
        lines = answer.aiter_lines()
        for word in ("one", "two", "three"):
            speech.say(Text(word))
            while f'"token":"{word}"' not in await anext(lines):
                pass
    async with place.http.stream("GET", f"/v1/stream?job_id={job_id}&cursor=1") as again:
        lines = again.aiter_lines()
        while '"token":"three"' not in await anext(lines):
            pass
    assert await place.value("okome_broker_delivered_events_total") >= 5
    first = "okome_broker_delivered_time_to_first_token_seconds_count"
    assert await place.value(f'{first}{{model="small"}}') == 1
    assert await place.value('okome_broker_delivered_gap_seconds_count{model="small"}') >= 2
    assert await place.value('okome_broker_resumes_total{outcome="ok",relay="here"}') == 1
    assert await place.value("okome_broker_resumes_replayed_events_total") >= 2
    assert await place.value('okome_broker_accept_seconds_count{outcome="accepted"}') == 1
    assert await place.value('okome_broker_grant_seconds_count{outcome="ok"}') == 1
