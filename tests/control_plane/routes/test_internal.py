"""The internal API over HTTP: what brokers ask."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import msgspec
import pytest
from sqlalchemy import select

from contracts.grants import BATCH_MAX, Grant, GrantAnswers
from contracts.policy import PolicySnapshot
from control_plane.store.schema import settlements
from tests.control_plane.conftest import Start
from tests.control_plane.harness import API_KEY, Clock, Harness, settlement
from tests.support.eventually import eventually_async

INTERNAL = [
    ("POST", "/grants"),
    ("POST", "/grants/batch"),
    ("POST", "/leases/renew"),
    ("POST", "/leases/acquire"),
    ("POST", "/leases/x/renew"),
    ("POST", "/settlements"),
    ("POST", "/settlements/batch"),
    ("POST", "/tools/x/invoke"),
    ("GET", "/policy"),
]


def code_of(response: httpx.Response) -> str:
    """The stable code of a refusal; asserts that it is a whole problem."""
    assert response.headers["content-type"] == "application/problem+json"
    problem: dict[str, Any] = response.json()
    assert problem["status"] == response.status_code
    assert problem["title"]
    assert problem["detail"]
    return str(problem["code"])


@pytest.mark.parametrize(("method", "path"), INTERNAL)
@pytest.mark.parametrize(
    "authorization", [None, "", "Bearer", "Bearer wrong", f"Bearer {API_KEY}", "Basic é"]
)
async def test_without_the_service_credential_nothing_is_told(
    control: Harness, method: str, path: str, authorization: str | None
) -> None:
    headers = {} if authorization is None else {b"Authorization": authorization.encode()}
    answer = await control.client.request(method, f"/internal/v1{path}", headers=headers)
    assert (answer.status_code, code_of(answer)) == (401, "unauthenticated")
    assert answer.headers["www-authenticate"] == "Bearer"


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


@pytest.mark.parametrize("lost", [{"a\0": "local"}, {"l" * 257: "local"}])
async def test_a_lease_that_no_database_keeps_is_refused(
    control: Harness, lost: dict[str, str]
) -> None:
    answer = await control.internal("POST", "/leases/acquire", json={"leases": lost, "node": "n"})
    assert (answer.status_code, answer.json()["field"]) == (400, "leases")


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


async def test_no_tool_is_registered(control: Harness) -> None:
    body = {"job_id": "j", "id": "c", "arguments": "{}"}
    answer = await control.internal("POST", "/tools/clock/invoke", json=body)
    assert (answer.status_code, code_of(answer)) == (404, "not_found")


@pytest.mark.parametrize(
    ("body", "code", "field"),
    [
        (b"", "invalid_json", None),
        (b"{", "invalid_json", None),
        (b'{"credential": "\xff"}', "invalid_json", None),
        (b'{"x":' + b"[" * 100_000, "invalid_json", None),
        (b"[]", "invalid_request", None),
        (b"{}", "invalid_request", "credential"),
        (b'{"credential": 1}', "invalid_request", "credential"),
        (b'{"credential": "x", "node": "n", "request": {}}', "invalid_request", "request.model"),
    ],
)
async def test_bad_bodies_are_told_apart(
    control: Harness, body: bytes, code: str, field: str | None
) -> None:
    headers = {"Content-Type": "application/json; charset=utf-8"}
    answer = await control.internal("POST", "/grants", content=body, headers=headers)
    assert (answer.status_code, code_of(answer)) == (400, code)
    assert answer.json().get("field") == field


@pytest.mark.parametrize("media_type", [None, "text/plain", "application/x-www-form-urlencoded"])
async def test_only_json_is_read(control: Harness, media_type: str | None) -> None:
    headers = {"Content-Type": media_type} if media_type else {}
    answer = await control.internal("POST", "/settlements", content=b"{}", headers=headers)
    assert (answer.status_code, code_of(answer)) == (415, "unsupported_media_type")


async def test_a_body_too_large_is_refused_declared_or_not(start: Start) -> None:
    async def endless() -> Any:
        for _ in range(100):
            yield b" " * 1000

    async with start("body_max=2048") as control:
        for content in (b" " * 2049, endless()):
            answer = await control.internal(
                "POST", "/grants", content=content, headers={"Content-Type": "application/json"}
            )
            assert (answer.status_code, code_of(answer)) == (413, "payload_too_large")


async def test_settlements_survive_a_restart(start: Start) -> None:
    async with start() as before:
        assert (await before.settle()).status_code == 204
    async with start() as after:
        await after.settle(**settlement(job_id="n03w0-2"))
        (usage,) = (await after.call("GET", "/v1/usage")).json()["models"]
        assert usage["requests"] == 2
