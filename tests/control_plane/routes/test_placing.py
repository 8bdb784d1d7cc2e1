"""Turns, reports of failures, and draining, over the routes of a whole control plane."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from control_plane.policy_source import PolicySource
from tests.control_plane.conftest import Start
from tests.control_plane.harness import Clock, Harness, cluster

POLICY = """
version: 1
engines:
  vllm@gpu-a: {slots: 1}
  ollama@gpu-b: {slots: 1}
models:
  small: {engines: [{engine: vllm@gpu-a}], smaller: other, tools: [time, calculator]}
  lone: {engines: [{engine: vllm@gpu-a, model: small}]}
  deaf: {engines: [{engine: vllm@gpu-a, model: small}], capabilities: []}
  other: {engines: [{engine: ollama@gpu-b}], tools: [calculator]}
tools: {time: {kind: time}, calculator: {kind: calculator}}
overload: {shorten_at: 1.0, shorten_to: 16, queue: 2, wait_s: 30, retry_after_s: 7}
"""


@pytest.fixture
def policy(tmp_path: Path, clock: Clock) -> PolicySource:
    path = tmp_path / "policy.yml"
    path.write_text(POLICY)
    return PolicySource(cluster(), path, clock)


async def granted(control: Harness, **question: Any) -> dict[str, Any]:
    answer = await control.grant(**question)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


async def turn(control: Harness, grant: dict[str, Any]) -> Any:
    return await control.internal("POST", f"/grants/{grant['grant_id']}/turn", json={})


async def settle(control: Harness, grant: dict[str, Any], **changes: Any) -> None:
    await control.settle(
        job_id=grant["grant_id"],
        grant_id=grant["grant_id"],
        lease_id=grant["lease"]["id"],
        user_id=grant["user_id"],
        **changes,
    )


async def test_a_full_engine_makes_jobs_wait_and_calls_them(
    start: Start, policy: PolicySource
) -> None:
    async with start(policy=policy) as control:
        running = await granted(control, model="lone")
        assert running["turn"] is None
        waiting = await granted(control, model="lone", max_tokens=100)
        assert waiting["turn"] == {"position": 1, "ask_again_s": 0.25}
        assert waiting["limits"]["max_tokens"] == 16
        assert [notice["code"] for notice in waiting["notices"]] == ["limited"]
        assert (await turn(control, waiting)).json() == {"turn": waiting["turn"]}
        await settle(control, running)
        called = (await turn(control, waiting)).json()
        assert called["engine"]["base_url"] == "http://a.test:1"
        assert (await turn(control, waiting)).json() == called
        text = (await control.client.get("/metrics")).text
        assert 'okome_control_overload_total{model="lone",step="queued"} 1.0' in text
        assert 'okome_control_engine_jobs{engine="vllm@gpu-a"} 1.0' in text


async def test_a_smaller_model_answers_and_the_client_is_told(
    start: Start, policy: PolicySource
) -> None:
    async with start(policy=policy) as control:
        first = await granted(control, model="small")
        assert (first["model"], first["notices"]) == (None, [])
        second = await granted(control, model="small")
        assert second["model"] == "other"
        assert second["engine"]["base_url"] == "http://b.test:1"
        assert "other answers instead" in second["notices"][0]["message"]


async def test_a_smaller_model_has_only_the_tools_that_it_may_use(
    start: Start, policy: PolicySource
) -> None:
    async with start(policy=policy) as control:
        asked = {"model": "small", "server_tools": ["time", "calculator"]}
        whole = await granted(control, **asked)
        less = await granted(control, **asked)
        names = [[tool["function"]["name"] for tool in grant["tools"]] for grant in (whole, less)]
        assert names == [["time", "calculator"], ["calculator"]]
        assert (less["model"], whole["notices"]) == ("other", [])
        assert [told["code"] for told in less["notices"]] == ["limited", "limited"]
        assert less["notices"][1]["message"] == "other answers without time"


async def test_when_the_queue_is_full_too_it_is_said_when_to_come_back(
    start: Start, policy: PolicySource
) -> None:
    async with start("streams_per_user=50", policy=policy) as control:
        for _ in range(3):
            await granted(control, model="lone")
        refused = await control.grant(model="lone")
        assert (refused.status_code, refused.json()["code"]) == (503, "overloaded")
        assert refused.headers["retry-after"] == "7"


async def test_whoever_waits_for_too_long_and_whoever_is_unknown_is_told(
    start: Start, policy: PolicySource, clock: Clock
) -> None:
    async with start(policy=policy) as control:
        await granted(control, model="lone")
        waiting = await granted(control, model="lone")
        clock.now += 30
        answer = await turn(control, waiting)
        assert (answer.status_code, answer.json()["code"]) == (503, "overloaded")
        unknown = await turn(control, {"grant_id": "grant_none"})
        assert (unknown.status_code, unknown.json()["code"]) == (404, "not_found")


async def test_a_refused_admission_takes_no_slot(start: Start, policy: PolicySource) -> None:
    async with start("streams_per_user=1", policy=policy) as control:
        running = await granted(control, model="other")
        for _ in range(3):
            assert (await control.grant(model="lone")).json()["code"] == "too_many_streams"
        assert len(control.plane.dispatcher.occupancy) == 1
        await settle(control, running)
        assert (await granted(control, model="lone"))["turn"] is None


async def test_what_a_model_cannot_do_is_a_clear_refusal(
    start: Start, policy: PolicySource
) -> None:
    async with start(policy=policy) as control:
        refused = (await control.grant(model="deaf", tools=True)).json()
        assert (refused["code"], refused["field"]) == ("invalid_request", "tools")
        assert refused["detail"] == "The model deaf cannot call tools."
        long = await control.grant(model="lone", prompt_tokens_estimate=2048)
        assert (long.status_code, long.json()["code"]) == (400, "context_too_long")


async def test_reported_faults_put_an_engine_out_and_the_next_is_asked(control: Harness) -> None:
    reports = [
        {"node": "n03w0", "base_url": "http://a.test:1", "model": "small", "fault": "engine_error"}
    ] * 3
    assert (await granted(control))["engine"]["base_url"] == "http://a.test:1"
    answer = await control.internal("POST", "/engines/reports", json={"reports": reports})
    assert answer.status_code == 204
    grant = await granted(control)
    assert grant["engine"]["base_url"] == "http://b.test:1"
    assert grant["fallbacks"] == []
    engines = (await control.admin("GET", "/engines")).json()["engines"]
    (state,) = [e["models"][0] for e in engines if e["name"] == "vllm@gpu-a"]
    assert (state["breaker"], state["state"]) == ("open", "failing")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"reports": [{"node": "n", "base_url": "x", "model": "m", "fault": "bored"}]},
        {"reports": [{"node": "\0", "base_url": "x", "model": "m", "fault": "engine_error"}]},
    ],
)
async def test_reports_that_are_none_are_refused(control: Harness, body: object) -> None:
    answer = await control.internal("POST", "/engines/reports", json=body)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request")


async def test_reports_of_what_nobody_knows_are_forgotten(control: Harness) -> None:
    reports = [
        {"node": "n", "base_url": f"http://{n}.test", "model": "m", "fault": "engine_unreachable"}
        for n in range(64)
    ]
    answer = await control.internal("POST", "/engines/reports", json={"reports": reports})
    assert answer.status_code == 204
    assert control.plane.fleet.breakers(0.0) == {}


async def test_a_drained_engine_stays_drained_over_a_restart(start: Start) -> None:
    async with start() as control:
        drained = await control.admin("POST", "/engines/vllm@gpu-a/drain")
        assert (drained.status_code, drained.json()["drained"]) == (200, True)
        assert (await granted(control))["engine"]["base_url"] == "http://b.test:1"
    async with start() as control:
        assert (await granted(control))["engine"]["base_url"] == "http://b.test:1"
        resumed = await control.admin("POST", "/engines/vllm@gpu-a/resume")
        assert resumed.json()["drained"] is False
        assert (await granted(control))["engine"]["base_url"] == "http://a.test:1"
        audit = (await control.admin("GET", "/audit")).json()
        assert "engine.resume" in str(audit)
        assert (await control.admin("POST", "/engines/none/drain")).status_code == 404


async def test_without_a_file_engines_are_never_full(control: Harness) -> None:
    for _ in range(20):
        answer = await control.grant()
        if answer.status_code == 429:
            break
        assert answer.json()["turn"] is None
    assert len(control.plane.dispatcher.waiting) == 0


async def test_a_restart_counts_the_jobs_that_run_and_lets_the_waiting_ones_wait(
    start: Start, policy: PolicySource
) -> None:
    async with start(policy=policy) as control:
        running = await granted(control, model="lone")
        waiting = await granted(control, model="lone")
    async with start(policy=policy) as control:
        assert (await turn(control, waiting)).json()["turn"]["position"] == 1
        await settle(control, running)
        assert (await turn(control, waiting)).json()["engine"]["name"] == "vllm@gpu-a"
