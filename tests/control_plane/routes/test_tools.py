"""Tools over the internal API: who may call what, and what is noted of it."""

from __future__ import annotations

from typing import Any

import httpx
import msgspec
import pytest

from contracts.grants import Grant
from contracts.policy import PolicySnapshot
from control_plane.store.audit import Kept, list_audit
from tests.control_plane.conftest import Start
from tests.control_plane.harness import Clock, Harness
from tests.control_plane.routes.test_internal import code_of


async def granted(control: Harness, *tools: str, **question: Any) -> Grant:
    answer = await control.grant(server_tools=list(tools), **question)
    assert answer.status_code == 200, answer.text
    return msgspec.json.decode(answer.content, type=Grant)


async def invoke(control: Harness, name: str, **body: Any) -> httpx.Response:
    whole = {"job_id": "n03w0-1", "id": "c1", "arguments": {}} | body
    return await control.internal("POST", f"/tools/{name}/invoke", json=whole)


async def audited(control: Harness) -> list[Kept]:
    await control.plane.trail.flush()
    return await control.plane.database.run(lambda c: list_audit(c, action="tool"))


async def test_brokers_are_told_which_tools_there_are(control: Harness) -> None:
    body = (await control.internal("GET", "/policy")).content
    snapshot = msgspec.json.decode(body, type=PolicySnapshot)
    assert [tool["function"]["name"] for tool in snapshot.tools] == ["time", "calculator"]
    assert {tool["type"] for tool in snapshot.tools} == {"function"}
    by_model = {model.id: model.server_tools for model in snapshot.models}
    assert by_model["small"] == ["time", "calculator"]
    assert by_model["scores"] == []


async def test_a_grant_has_the_tools_that_were_asked_for(control: Harness) -> None:
    grant = await granted(control, "calculator")
    (tool,) = grant.tools
    assert tool["function"]["name"] == "calculator"
    assert tool["function"]["parameters"]["required"] == ["expression"]
    assert grant.tool_rounds == 8


async def test_a_grant_that_asks_for_none_has_none(control: Harness) -> None:
    grant = await granted(control, tools=True)
    assert (grant.tools, grant.tool_rounds) == ([], 0)


@pytest.mark.parametrize(
    ("model", "tool"), [("small", "weather"), ("scores", "time"), ("small", "")]
)
async def test_a_tool_that_is_not_offered_is_refused(
    control: Harness, model: str, tool: str
) -> None:
    answer = await control.grant(model=model, server_tools=[tool])
    assert (answer.status_code, code_of(answer)) == (400, "invalid_request")
    assert answer.json()["field"] == "tools"


async def test_a_call_is_answered_counted_and_noted(control: Harness) -> None:
    grant = await granted(control, "calculator")
    arguments = '{"expression": "6*7"}'
    answer = await invoke(control, "calculator", grant_id=grant.grant_id, arguments=arguments)
    assert (answer.status_code, answer.json()) == (200, {"ok": True, "content": "42"})
    (line,) = await audited(control)
    assert (line.actor, line.subject, line.outcome) == ("local", "calculator", "ok")
    assert list(line.detail) == ["ms"]
    metrics = control.plane.metrics.exposition()[0].decode()
    assert 'okome_control_tool_calls_total{outcome="ok",tool="calculator"} 1.0' in metrics
    assert 'okome_control_tool_seconds_count{tool="calculator"} 1.0' in metrics


async def test_nothing_that_was_said_is_kept(control: Harness) -> None:
    await invoke(control, "calculator", arguments={"expression": "271828*2"})
    await invoke(control, "calculator", id="c2", arguments={"expression": "a secret"})
    assert [line.outcome for line in await audited(control)] == ["invalid", "ok"]
    kept = await control.kept()
    assert "271828" not in kept
    assert "543656" not in kept
    assert "a secret" not in kept


async def test_a_call_without_success_is_an_answer_too(control: Harness) -> None:
    answer = await invoke(control, "calculator", arguments={"expression": "1/0"})
    assert (answer.status_code, answer.json()["ok"]) == (200, False)


@pytest.mark.parametrize("name", ["weather", "time%00", "../time", "x" * 200])
async def test_a_tool_that_there_is_none_of_is_not_found(control: Harness, name: str) -> None:
    answer = await invoke(control, name)
    assert (answer.status_code, code_of(answer)) == (404, "not_found")


async def test_only_what_the_grant_has_can_be_called(control: Harness) -> None:
    grant = await granted(control, "calculator")
    answer = await invoke(control, "time", grant_id=grant.grant_id)
    assert (answer.status_code, code_of(answer)) == (404, "not_found")
    none = await granted(control)
    answer = await invoke(control, "time", grant_id=none.grant_id)
    assert (answer.status_code, code_of(answer)) == (404, "not_found")


async def test_after_a_restart_what_the_model_may_call_can_be_called(
    start: Start, clock: Clock
) -> None:
    async with start() as control:
        grant = await granted(control, "calculator")
    clock.now += 1
    async with start() as control:
        assert (await invoke(control, "time", grant_id=grant.grant_id)).status_code == 200
        answer = await invoke(control, "weather", grant_id=grant.grant_id)
        assert answer.status_code == 404


async def test_a_grant_that_is_over_calls_nothing(control: Harness) -> None:
    grant = await granted(control, "time")
    assert (await invoke(control, "time", grant_id=grant.grant_id)).status_code == 200
    await control.settle(grant_id=grant.grant_id, lease_id=grant.lease.id)
    for grant_id in (grant.grant_id, "grant_unheard_of"):
        answer = await invoke(control, "time", grant_id=grant_id, id="c2")
        assert (answer.status_code, code_of(answer)) == (404, "not_found")


@pytest.mark.parametrize(
    "body",
    [{"job_id": ""}, {"id": ""}, {"id": "x" * 300}, {"job_id": 1}, {"grant_id": 1}],
)
async def test_a_call_that_cannot_be_one_is_refused(control: Harness, body: Any) -> None:
    answer = await invoke(control, "time", **body)
    assert (answer.status_code, code_of(answer)) == (400, "invalid_request")


async def test_lines_that_find_no_room_are_counted(
    control: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("control_plane.tools.trail.LINES_MAX", 1)
    for _ in range(3):
        control.plane.trail.called("time", "time", "local", "ok", 0.1)
    assert len(await audited(control)) == 1
    exposed = control.plane.metrics.exposition()[0].decode()
    assert "okome_control_tool_lines_lost_total 2.0" in exposed
