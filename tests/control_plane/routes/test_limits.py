"""Quotas and slots over HTTP, on both databases."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

import pytest
from sqlalchemy import URL, Connection, update

from control_plane.allowance import ends_at
from control_plane.store.schema import tiers
from tests.control_plane.conftest import Start
from tests.control_plane.harness import Clock, Harness, settlement


@pytest.fixture
def home(url: URL) -> URL:
    return url


async def allow(control: Harness, **limits: int) -> None:
    """Sets what everybody may use."""

    def change(connection: Connection) -> None:
        connection.execute(update(tiers).values(**limits))

    await control.plane.database.run(change)
    await control.plane.reload_roster()


async def settle(control: Harness, grant: dict[str, Any], tokens: int) -> None:
    usage = {"prompt_tokens": tokens, "completion_tokens": 0, "cached_tokens": 0}
    answer = await control.settle(
        job_id=f"of-{grant['grant_id']}",
        grant_id=grant["grant_id"],
        lease_id=grant["lease"]["id"],
        usage=usage,
    )
    assert answer.status_code == 204


async def quota(control: Harness) -> dict[str, Any]:
    answer: dict[str, Any] = (await control.call("GET", "/v1/quota")).json()
    return answer


async def test_of_200_grants_at_once_exactly_the_quota_is_admitted(control: Harness) -> None:
    await allow(control, streams=1000, tokens_day=37 * 100 + 30)
    answers = await asyncio.gather(*(control.grant(max_tokens=90) for _ in range(200)))
    granted = [answer.json() for answer in answers if answer.status_code == 200]
    refused = [answer for answer in answers if answer.status_code == 429]
    assert len(granted) + len(refused) == 200
    assert sorted(grant["reservation"]["tokens"] for grant in granted) == [30] + [100] * 37
    assert {answer.json()["code"] for answer in refused} == {"quota_exceeded"}
    assert (await quota(control))["tokens"]["day"]["taken"] == 3730

    await asyncio.gather(*(settle(control, grant, 10) for grant in granted))
    after = await quota(control)
    assert (after["tokens"]["day"]["taken"], after["streams"]["in_use"]) == (380, 0)


async def test_of_200_grants_at_once_exactly_the_requests_are_admitted(control: Harness) -> None:
    await allow(control, streams=1000, requests_month=50)
    answers = await asyncio.gather(*(control.grant() for _ in range(200)))
    assert [answer.status_code for answer in answers].count(200) == 50


async def test_the_last_tokens_of_a_quota_are_a_shorter_answer(control: Harness) -> None:
    await allow(control, tokens_day=60)
    whole = (await control.grant(max_tokens=20)).json()
    assert (whole["limits"]["max_tokens"], whole["limits"]["quota_limited"]) == (20, False)
    short = (await control.grant(max_tokens=90)).json()
    assert (short["limits"]["max_tokens"], short["limits"]["quota_limited"]) == (20, True)
    assert short["reservation"] == {"tokens": 30}


async def test_below_one_token_it_is_a_429_until_the_period_ends(
    control: Harness, clock: Clock
) -> None:
    await allow(control, tokens_day=10)
    answer = await control.grant(max_tokens=1)
    assert (answer.status_code, answer.json()["code"]) == (429, "quota_exceeded")
    wait = int(answer.headers["retry-after"])
    assert 0 <= clock.now + wait - ends_at(clock.now, "day") <= 2
    assert answer.headers["ratelimit-policy"] == '"tokens-day";q=10;w=86400;qu="tokens"'
    assert answer.headers["ratelimit"] == f'"tokens-day";r=10;t={wait}'
    clock.now += wait
    await allow(control, tokens_day=11)
    assert (await control.grant(max_tokens=1)).json()["limits"]["max_tokens"] == 1


async def test_a_restart_forgets_nothing_that_was_set_aside_or_used(start: Start) -> None:
    async with start() as before:
        await allow(before, tokens_month=300)
        await settle(before, (await before.grant(max_tokens=90)).json(), 77)
        running = (await before.grant(max_tokens=90)).json()
        expected = await quota(before)
    async with start() as after:
        assert await quota(after) == expected
        assert expected["tokens"]["month"]["taken"] == 177
        assert (await after.grant(max_tokens=1000)).json()["limits"]["max_tokens"] == 113
        await settle(after, running, 5)
        assert (await quota(after))["tokens"]["month"]["taken"] == 77 + 5 + 123


async def test_tokens_of_a_job_that_never_ended_come_back(control: Harness, clock: Clock) -> None:
    await allow(control, tokens_day=100)
    await control.grant(max_tokens=90)
    assert (await control.grant()).status_code == 429
    clock.now += 630
    await control.plane.prune()
    assert (await control.grant()).status_code == 200


async def test_a_new_day_has_a_quota_of_its_own(control: Harness, clock: Clock) -> None:
    await allow(control, tokens_day=100)
    grant = (await control.grant(max_tokens=90)).json()
    clock.now = ends_at(clock.now, "day")
    assert (await control.grant(max_tokens=90)).json()["reservation"] == {"tokens": 100}
    await settle(control, grant, 90)
    assert (await quota(control))["tokens"]["day"]["taken"] == 100
    assert (await quota(control))["tokens"]["month"]["taken"] == 190


async def test_settlements_in_parallel_and_again_count_once(control: Harness) -> None:
    grants = [(await control.grant()).json() for _ in range(5)]
    calls = [partial(settle, control, grant, 10) for grant in grants] * 10
    await asyncio.gather(*(call() for call in calls))
    day = (await quota(control))["tokens"]["day"]["taken"]
    requests = (await quota(control))["requests"]["month"]["taken"]
    assert (day, requests) == (50, 5)


async def test_a_settlement_that_cannot_be_kept_stops_no_other(control: Harness) -> None:
    told = [settlement(job_id="1"), settlement(job_id="2", session_id="a\0b")]
    told.append(settlement(job_id="3"))
    answer = await control.internal("POST", "/settlements/batch", json={"settlements": told})
    assert answer.status_code == 200
    refused = set(answer.json()["refused"])
    assert refused <= {"2"}
    assert (await quota(control))["requests"]["day"]["taken"] == 3 - len(refused)
    alone = await control.internal("POST", "/settlements", json=told[1])
    assert alone.status_code == (400 if refused else 204)
