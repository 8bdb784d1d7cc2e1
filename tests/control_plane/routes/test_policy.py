"""`GET /internal/v1/policy` over HTTP: what brokers decide with by themselves."""

from __future__ import annotations

import msgspec
import pytest

from contracts.policy import PolicySnapshot, hash_key
from contracts.tokens import load_public_keys, verify_token
from tests.control_plane.conftest import Start
from tests.control_plane.harness import API_KEY, NOW, Clock, Harness


async def test_the_policy_holds_all_that_a_broker_decides_with(control: Harness) -> None:
    answer = await control.internal("GET", "/policy")
    policy = msgspec.json.decode(answer.content, type=PolicySnapshot)
    assert policy.key_hashes[hash_key(API_KEY)].user_id == "local"
    assert [(m.id, m.context) for m in policy.models] == [
        ("small", 1024),
        ("scores", 1),
        ("other", 4096),
    ]
    assert policy.limits.streams_per_user == 5
    assert API_KEY not in answer.text
    token = (await control.login()).json()["token"]
    claims = verify_token(token, load_public_keys(policy.public_keys), policy.revoked, NOW)
    assert claims.sub == "local"


async def test_an_unchanged_policy_is_304_at_any_time_and_after_a_restart(
    start: Start, clock: Clock
) -> None:
    async with start() as before:
        answer = await before.internal("GET", "/policy")
        tag = answer.headers["etag"]
        assert answer.json()["version"] in tag
    clock.now += 100
    async with start() as after:
        answer = await after.internal("GET", "/policy", headers={"If-None-Match": tag})
        assert (answer.status_code, answer.content, answer.headers["etag"]) == (304, b"", tag)


@pytest.mark.parametrize("mode", ["smooth", "off"])
async def test_grants_and_the_policy_pace_alike(start: Start, mode: str) -> None:
    async with start(f"pacing={mode}") as control:
        granted = await control.grant()
        policy = await control.internal("GET", "/policy")
    assert granted.json()["pacing"] == {"mode": mode, "hold_max_ms": 100}
    assert policy.json()["pacing"] == granted.json()["pacing"]


async def test_keys_and_logouts_reach_the_next_policy(control: Harness) -> None:
    tags = [(await control.internal("GET", "/policy")).headers["etag"]]
    made = (await control.call("POST", "/v1/keys", json={})).json()
    policy = await control.internal("GET", "/policy", headers={"If-None-Match": tags[0]})
    tags.append(policy.headers["etag"])
    assert hash_key(made["key"]) in policy.json()["key_hashes"]

    token = (await control.login(made["key"])).json()["token"]
    await control.client.post("/auth/logout", headers={"Authorization": f"Bearer {token}"})
    policy = await control.internal("GET", "/policy")
    tags.append(policy.headers["etag"])
    assert len(policy.json()["revoked"]) == 1

    await control.call("DELETE", f"/v1/keys/{made['id']}")
    policy = await control.internal("GET", "/policy")
    tags.append(policy.headers["etag"])
    assert hash_key(made["key"]) not in policy.json()["key_hashes"]
    assert len(set(tags)) == 4
