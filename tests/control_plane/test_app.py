"""The application as a whole: errors of any kind, restarts, pruning."""

from __future__ import annotations

import logging

import pytest
from sqlalchemy import func, select

from contracts.problems import ProblemError
from control_plane.store.schema import grants, issued_tokens
from tests.control_plane.conftest import Start
from tests.control_plane.harness import API_KEY, Clock, Harness


@pytest.mark.parametrize(
    "path",
    ["/", "/nothing", "/v1/sessions/a/b", "/v1/sessions/1", "/v1/keys/", "/internal/v2/grants"],
)
async def test_what_is_not_there_is_a_problem(control: Harness, path: str) -> None:
    answer = await control.call("GET", path)
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/auth/login", {"POST"}),
        ("PUT", "/v1/usage", {"GET", "HEAD"}),
        ("DELETE", "/internal/v1/grants", {"POST"}),
        ("PUT", "/v1/keys", {"GET", "HEAD", "POST"}),
        ("PUT", "/v1/sessions/mine", {"GET", "HEAD", "PATCH", "DELETE"}),
    ],
)
async def test_another_method_is_a_problem_that_names_the_right_ones(
    control: Harness, method: str, path: str, allowed: set[str]
) -> None:
    answer = await control.call(method, path)
    assert (answer.status_code, answer.json()["code"]) == (405, "method_not_allowed")
    assert set(answer.headers["allow"].split(", ")) == allowed


async def test_a_fault_of_ours_is_a_500_that_shows_nothing(
    control: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("the secret inside")

    monkeypatch.setattr("control_plane.routes.usage.usage_by_model", broken)
    answer = await control.call("GET", "/v1/usage")
    assert (answer.status_code, answer.json()["code"]) == (500, "internal")
    assert "secret" not in answer.text
    assert "Traceback" not in answer.text
    assert "okome_control_faults_total 1.0" in (await control.client.get("/metrics")).text


async def test_a_restart_keeps_keys_leases_and_sessions(start: Start) -> None:
    async with start() as before:
        key = (await before.call("POST", "/v1/keys", json={})).json()["key"]
        token = (await before.login()).json()["token"]
        lease = (await before.grant()).json()["lease"]["id"]
    async with start() as after:
        assert (await after.grant(key)).status_code == 200
        assert (await after.grant(token)).status_code == 200
        assert (await after.internal("POST", f"/leases/{lease}/renew")).status_code == 204
        assert (await after.call("GET", "/v1/quota")).json()["streams"]["in_use"] == 3


async def test_a_changed_first_key_is_added_at_the_next_start(start: Start) -> None:
    other = "ok_" + "B" * 43
    async with start():
        pass
    async with start(api_key=other) as control:
        assert (await control.grant(other)).status_code == 200
        assert (await control.grant(API_KEY)).status_code == 200


async def test_a_revoked_first_key_is_told_at_the_next_start(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    async with start() as control:
        (record,) = (await control.call("GET", "/v1/keys")).json()["keys"]
        await control.call("DELETE", f"/v1/keys/{record['id']}")
    async with start() as control:
        assert (await control.grant()).status_code == 401
    assert "revoked and opens nothing" in caplog.text
    assert API_KEY not in caplog.text


async def test_pruning_forgets_what_nobody_holds(control: Harness, clock: Clock) -> None:
    await control.grant()
    token = (await control.login()).json()["token"]
    await control.client.post("/auth/logout", headers={"Authorization": f"Bearer {token}"})
    clock.now += 100_000
    await control.plane.prune()
    for table in (grants, issued_tokens):
        kept = select(func.count()).select_from(table)
        assert await control.plane.database.run(lambda c, kept=kept: c.scalar(kept)) == 0


async def test_a_revoked_key_ends_also_when_the_roster_could_not_be_read_then(
    control: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = (await control.call("POST", "/v1/keys", json={})).json()

    def away(*_: object) -> None:
        raise ProblemError("control_plane_unavailable", "no")

    monkeypatch.setattr("control_plane.plane.read_rows", away)
    assert (await control.call("DELETE", f"/v1/keys/{made['id']}")).status_code == 503
    assert (await control.grant(made["key"])).status_code == 200
    monkeypatch.undo()
    await control.plane.refresh_roster()
    assert (await control.grant(made["key"])).status_code == 401


async def test_pruning_waits_for_a_store_that_is_busy(control: Harness) -> None:
    await control.plane.database.close()
    await control.plane.prune()
