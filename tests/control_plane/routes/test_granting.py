"""The internal API over HTTP: leave for jobs, one by one and together."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from contracts.grants import BATCH_MAX, Grant, GrantAnswers
from contracts.policy import PolicySnapshot
from tests.control_plane.conftest import Start
from tests.control_plane.harness import API_KEY, Clock, Harness, code_of, settlement
from tests.support.eventually import eventually_async


async def test_a_grant_names_engine_limits_lease_and_reservation(control: Harness) -> None:
    answer = await control.grant(kind="chat", max_tokens=100)
    grant = msgspec.json.decode(answer.content, type=Grant)
    assert (answer.status_code, grant.user_id, grant.tier) == (200, "local", "standard")
    assert (grant.engine.kind, grant.engine.base_url) == ("vllm", "http://a.test:1")
    assert [engine.kind for engine in grant.fallbacks] == ["ollama"]
    assert (grant.limits.max_tokens, grant.limits.deadline_s) == (100, 600.0)
    assert grant.reservation.tokens == 110
    assert grant.lease.ttl_s == 30.0
    assert grant.degraded_until is None


async def test_grants_and_policy_tell_which_engines_continue_a_text(
    control: Harness, clock: Clock
) -> None:
    async def told() -> list[bool]:
        grant = msgspec.json.decode((await control.grant()).content, type=Grant)
        body = (await control.internal("GET", "/policy")).content
        snapshot = msgspec.json.decode(body, type=PolicySnapshot)
        small = next(model for model in snapshot.models if model.id == "small")
        return [engine.continues for engine in (*grant.targets, *small.engines)]

    assert await told() == [False] * 4
    await eventually_async(lambda: not control.plane.prober.untried)
    control.engines.continues = True
    clock.now += 3
    await control.plane.prober.check()
    assert await told() == [True] * 4


async def test_which_engines_continue_a_text_is_known_over_a_restart(
    start: Start, clock: Clock
) -> None:
    """Also while they are too busy to be asked again."""
    async with start() as control:
        await eventually_async(lambda: not control.plane.prober.untried)
        control.engines.continues = True
        clock.now += 3
        await control.plane.prober.check()
    async with start() as control:
        await eventually_async(lambda: not control.plane.prober.untried)
        grant = msgspec.json.decode((await control.grant()).content, type=Grant)
        assert [engine.continues for engine in grant.targets] == [True, True]


@pytest.mark.parametrize(
    ("kind", "grace"), [("chat", 30.0), ("chat_completion", 30.0), ("job", None), ("ws", None)]
)
async def test_the_grace_without_viewers_depends_on_the_kind(
    control: Harness, kind: str, grace: float | None
) -> None:
    answer = await control.grant(kind=kind)
    assert answer.json()["limits"]["detach_grace_s"] == grace


async def test_a_session_token_is_as_good_as_the_key_until_it_ends(
    control: Harness, clock: Clock
) -> None:
    token = (await control.login()).json()["token"]
    assert (await control.grant(token)).status_code == 200
    clock.now += 3600 + 29
    assert (await control.grant(token)).status_code == 200
    clock.now += 1
    assert code_of(await control.grant(token)) == "unauthenticated"


@pytest.mark.parametrize("credential", ["", "ok_", "ok_" + "B" * 43, "eyJ.eyJ.x", "é", "a\u0000b"])
async def test_a_credential_that_proves_nothing_gets_no_grant(
    control: Harness, credential: str
) -> None:
    answer = await control.grant(credential)
    assert (answer.status_code, code_of(answer)) == (401, "unauthenticated")


async def test_a_key_needs_the_scope_to_generate(control: Harness) -> None:
    made = await control.call("POST", "/v1/keys", json={"scopes": ["keys"]})
    answer = await control.grant(made.json()["key"])
    assert (answer.status_code, code_of(answer)) == (403, "scope_missing")


async def test_an_unknown_model_is_told(control: Harness) -> None:
    answer = await control.grant(model="large'; DROP TABLE users; --")
    assert (answer.status_code, code_of(answer)) == (404, "unknown_model")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("max_tokens", 0),
        ("max_tokens", -1),
        ("max_tokens", 4097),
        ("max_tokens", 10**30),
        ("prompt_tokens_estimate", -1),
        ("prompt_tokens_estimate", 10**30),
    ],
)
async def test_numbers_out_of_range_are_refused(control: Harness, field: str, value: int) -> None:
    answer = await control.grant(API_KEY, **{field: value})
    assert (answer.status_code, code_of(answer)) == (400, "invalid_request")
    assert answer.json()["field"] == field


async def test_a_node_that_no_database_keeps_is_refused(control: Harness) -> None:
    question = {"model": "small", "kind": "job", "prompt_tokens_estimate": 10}
    body = {"credential": API_KEY, "node": "a\0b", "request": question}
    answer = await control.internal("POST", "/grants", json=body)
    assert (answer.status_code, answer.json()["field"]) == (400, "node")


@pytest.mark.parametrize("edge", [1, 4096])
async def test_both_ends_of_the_range_are_granted(control: Harness, edge: int) -> None:
    answer = await control.grant(max_tokens=edge)
    assert answer.json()["limits"]["max_tokens"] == edge


async def test_a_refused_grant_takes_no_slot(control: Harness) -> None:
    for _ in range(10):
        await control.grant(max_tokens=0)
        await control.grant(model="none")
    quota = (await control.call("GET", "/v1/quota")).json()
    assert quota["streams"]["in_use"] == 0
    assert quota["tokens"]["day"]["taken"] == 0


async def test_grants_in_parallel_do_not_overrun(control: Harness) -> None:
    answers = await asyncio.gather(*(control.grant() for _ in range(40)))
    statuses = [answer.status_code for answer in answers]
    assert (statuses.count(200), statuses.count(429)) == (5, 35)


async def test_a_user_with_every_slot_taken_is_told_when_to_come_back(control: Harness) -> None:
    for _ in range(5):
        await control.grant()
    answer = await control.grant()
    assert (answer.status_code, code_of(answer)) == (429, "too_many_streams")
    assert int(answer.headers["retry-after"]) >= 1
    assert answer.headers["ratelimit-policy"] == '"streams";q=5;qu="concurrent-requests"'
    assert answer.headers["ratelimit"] == '"streams";r=0'


async def test_questions_asked_together_are_answered_each_by_itself(control: Harness) -> None:
    asked = {"kind": "job", "prompt_tokens_estimate": 10}
    questions = [
        {"credential": credential, "node": "n03w0", "request": asked | {"model": model}}
        for credential, model in (
            (API_KEY, "small"),
            (API_KEY, "none such"),
            ("ok_" + "B" * 43, "small"),
            ("no credential", "small"),
            (API_KEY, "other"),
        )
    ]
    reply = await control.internal("POST", "/grants/batch", json={"questions": questions})
    answers = msgspec.json.decode(reply.content, type=GrantAnswers).answers
    codes = [answer.problem and answer.problem["code"] for answer in answers]
    assert codes == [None, "unknown_model", "unauthenticated", "unauthenticated", None]
    granted = [answer.grant.engine.model for answer in answers if answer.grant]
    assert granted == ["small", "other"]


async def test_a_job_that_has_ended_at_its_broker_holds_no_slot(control: Harness) -> None:
    held = [(await control.grant()).json()["lease"]["id"] for _ in range(5)]
    asked = {"kind": "job", "prompt_tokens_estimate": 10, "model": "small"}
    question = {"credential": API_KEY, "node": "n03w0", "request": asked}
    for ended, status in (([], 429), (["lease_of_nobody"], 429), (held[:1], 200), (held[:1], 429)):
        answer = await control.internal("POST", "/grants", json=question | {"ended": ended})
        assert answer.status_code == status
    quota = (await control.call("GET", "/v1/quota")).json()
    assert quota["requests"]["day"]["taken"] == 6


async def test_slots_are_not_overrun_by_questions_asked_together(control: Harness) -> None:
    asked = {"kind": "job", "prompt_tokens_estimate": 10, "model": "small"}
    question = {"credential": API_KEY, "node": "n03w0", "request": asked}
    reply = await control.internal("POST", "/grants/batch", json={"questions": [question] * 7})
    answers = msgspec.json.decode(reply.content, type=GrantAnswers).answers
    assert [answer.grant is not None for answer in answers] == [True] * 5 + [False] * 2
    last = answers[-1]
    assert last.problem is not None
    assert last.problem["code"] == "too_many_streams"
    assert last.headers["Retry-After"] == "1"
    assert "RateLimit" in last.headers


async def test_more_than_a_batch_is_refused(control: Harness) -> None:
    body = {"settlements": [settlement()] * (BATCH_MAX + 1)}
    reply = await control.internal("POST", "/settlements/batch", json=body)
    assert (reply.status_code, code_of(reply)) == (400, "invalid_request")


async def test_a_dead_engine_gives_way_to_the_next(control: Harness) -> None:
    await control.put_down("a.test")
    grant = (await control.grant()).json()
    assert grant["engine"]["kind"] == "ollama"
    assert grant["fallbacks"] == []


async def test_without_any_engine_the_answer_is_503_and_no_slot_is_taken(
    control: Harness,
) -> None:
    await control.put_down("a.test", "b.test")
    for _ in range(6):
        answer = await control.grant()
        assert (answer.status_code, code_of(answer)) == (503, "no_engine")
        assert answer.headers["retry-after"] == "1"
    await control.put_down()
    assert (await control.grant()).status_code == 200
