"""The internal API over HTTP: the ends of jobs."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from sqlalchemy import select

from control_plane.store.schema import settlements
from tests.control_plane.conftest import Start
from tests.control_plane.harness import Harness, code_of, settlement


async def test_settlements_told_together_count_once_each(control: Harness) -> None:
    told = [settlement(job_id=f"n03w0-{number}") for number in (1, 2, 2)]
    wrong = settlement(job_id="n03w0-3", usage={"prompt_tokens": -1})
    for _ in range(2):
        reply = await control.internal(
            "POST", "/settlements/batch", json={"settlements": [*told, wrong]}
        )
        assert reply.status_code == 200
        assert list(reply.json()["refused"]) == ["n03w0-3"]
    (model,) = (await control.call("GET", "/v1/usage")).json()["models"]
    assert model["requests"] == 2


async def test_a_settled_job_frees_its_lease_and_its_reservation(control: Harness) -> None:
    grant = (await control.grant()).json()
    body = {"grant_id": grant["grant_id"], "lease_id": grant["lease"]["id"]}
    assert (await control.settle(**body)).status_code == 204
    quota = (await control.call("GET", "/v1/quota")).json()
    assert (quota["streams"]["in_use"], quota["tokens"]["day"]["taken"]) == (0, 15)
    late = await control.internal("POST", f"/leases/{grant['lease']['id']}/renew")
    assert late.status_code == 404


async def test_a_settlement_counts_once(control: Harness) -> None:
    await asyncio.gather(*(control.settle() for _ in range(5)))
    other = {"prompt_tokens": 999, "completion_tokens": 999, "cached_tokens": 0}
    assert (await control.settle(usage=other)).status_code == 204
    (usage,) = (await control.call("GET", "/v1/usage")).json()["models"]
    assert (usage["requests"], usage["prompt_tokens"], usage["completion_tokens"]) == (1, 10, 5)


async def test_a_settlement_of_a_degraded_grant_is_taken(control: Harness) -> None:
    answer = await control.settle(grant_id="degraded-1", lease_id="degraded-1")
    assert answer.status_code == 204


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"job_id": ""}, "job_id"),
        ({"user_id": ""}, "user_id"),
        ({"model": "m" * 257}, "model"),
        ({"outcome": "lost"}, "outcome"),
        ({"created_at": "now"}, "created_at"),
        ({"created_at": -1e300}, "created_at"),
        ({"ended_at": 1e300}, "ended_at"),
        ({"node": "a\0b"}, "node"),
        ({"usage": {"prompt_tokens": -1}}, "usage.prompt_tokens"),
        ({"usage": {"completion_tokens": 10**30}}, "usage.completion_tokens"),
        ({"usage": {"cached_tokens": 1.5}}, "usage.cached_tokens"),
    ],
)
async def test_a_settlement_that_no_job_can_have_is_refused(
    control: Harness, changes: dict[str, Any], field: str
) -> None:
    answer = await control.settle(**changes)
    assert (answer.status_code, code_of(answer)) == (400, "invalid_request")
    assert answer.json()["field"] == field


async def test_the_answer_itself_is_not_kept(control: Harness) -> None:
    await control.settle(final_text="the secret of the answer")
    rows = await control.plane.database.run(lambda c: c.execute(select(settlements)).all())
    assert "n03w0-1" in repr(rows)
    assert "the secret" not in repr(rows)


async def test_settlements_survive_a_restart(start: Start) -> None:
    async with start() as before:
        assert (await before.settle()).status_code == 204
    async with start() as after:
        await after.settle(**settlement(job_id="n03w0-2"))
        (usage,) = (await after.call("GET", "/v1/usage")).json()["models"]
        assert usage["requests"] == 2
