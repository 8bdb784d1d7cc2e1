"""The internal API over HTTP: slots that are renewed, lost and taken again."""

from __future__ import annotations

import pytest

from tests.control_plane.conftest import Start
from tests.control_plane.harness import Clock, Harness, code_of


@pytest.mark.parametrize("lost", [{"a\0": "local"}, {"l" * 257: "local"}])
async def test_a_lease_that_no_database_keeps_is_refused(
    control: Harness, lost: dict[str, str]
) -> None:
    answer = await control.internal("POST", "/leases/acquire", json={"leases": lost, "node": "n"})
    assert (answer.status_code, answer.json()["field"]) == (400, "leases")


async def test_the_slots_of_a_dead_broker_free_themselves(control: Harness, clock: Clock) -> None:
    for _ in range(5):
        await control.grant()
    clock.now += 29.9
    assert (await control.grant()).status_code == 429
    clock.now += 0.1
    assert (await control.grant()).status_code == 200


async def test_a_renewed_lease_lives_on(control: Harness, clock: Clock) -> None:
    lease = (await control.grant()).json()["lease"]["id"]
    for _ in range(4):
        clock.now += 20
        answer = await control.internal("POST", f"/leases/{lease}/renew")
        assert (answer.status_code, answer.content) == (204, b"")
    quota = (await control.call("GET", "/v1/quota")).json()
    assert quota["streams"] == {"limit": 5, "in_use": 1}


async def test_renewing_an_unknown_lease_is_404(control: Harness) -> None:
    answer = await control.internal("POST", "/leases/lease_none/renew")
    assert (answer.status_code, code_of(answer)) == (404, "not_found")


async def test_a_broker_renews_all_of_its_leases_at_once(control: Harness) -> None:
    leases = [(await control.grant()).json()["lease"]["id"] for _ in range(3)]
    answer = await control.internal("POST", "/leases/renew", json={"ids": [*leases, "no", "no"]})
    assert (answer.status_code, answer.json()) == (200, {"unknown": ["no"]})
    answer = await control.internal("POST", "/leases/renew", json={"ids": []})
    assert answer.json() == {"unknown": []}


async def test_leases_that_expired_while_we_were_away_come_back_within_the_limit(
    start: Start, clock: Clock
) -> None:
    async with start() as before:
        leases = [(await before.grant()).json()["lease"]["id"] for _ in range(5)]
    clock.now += 60
    async with start() as after:
        taken = [(await after.grant()).status_code for _ in range(2)]
        answer = await after.internal("POST", "/leases/renew", json={"ids": leases})
        assert taken == [200, 200]
        assert answer.json() == {"unknown": leases[3:]}
        assert (await after.grant()).status_code == 429


async def test_leases_we_do_not_know_are_acquired_again_within_the_limit(control: Harness) -> None:
    for _ in range(4):
        await control.grant()
    lost = {"degraded-1": "local", "degraded-2": "local"}
    body = {"leases": lost, "node": "okome-node-03"}
    answer = await control.internal("POST", "/leases/acquire", json=body)
    assert (answer.status_code, answer.json()) == (200, {"refused": ["degraded-2"]})
    renewed = await control.internal("POST", "/leases/renew", json={"ids": list(lost)})
    assert renewed.json() == {"unknown": ["degraded-2"]}
    assert (await control.grant()).status_code == 429
