"""Keys, usage and quota over HTTP."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests.control_plane.harness import API_KEY, HOST, NOW, Clock, Harness

PATHS = [
    ("POST", "/v1/keys"),
    ("GET", "/v1/keys"),
    ("DELETE", "/v1/keys/key_1"),
    ("GET", "/v1/usage"),
    ("GET", "/v1/quota"),
]


@pytest.mark.parametrize(("method", "path"), PATHS)
async def test_nothing_is_shown_without_a_credential(
    control: Harness, method: str, path: str
) -> None:
    answer = await control.client.request(method, path)
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")


async def test_a_new_key_is_shown_once_and_works(control: Harness) -> None:
    answer = await control.call("POST", "/v1/keys", json={"scopes": ["generate"]})
    made = answer.json()
    assert answer.status_code == 201
    assert re.fullmatch(r"ok_[A-Za-z0-9_-]{43}", made["key"])
    assert made["key"].startswith(made["prefix"])
    assert (made["scopes"], made["created_at"], made["expires_at"]) == (["generate"], NOW, None)
    assert (await control.grant(made["key"])).status_code == 200

    listed = (await control.call("GET", "/v1/keys")).json()["keys"]
    assert {name: value for name, value in made.items() if name != "key"} in listed
    assert made["key"] not in str(listed)
    assert API_KEY not in str(listed)


async def test_the_keys_themselves_are_nowhere_in_the_store(control: Harness) -> None:
    key = (await control.call("POST", "/v1/keys", json={})).json()["key"]
    written = Path(control.plane.database.url.database or "").parent.glob("*")
    content = b"".join(path.read_bytes() for path in written)
    assert b"api_keys" in content
    assert key.encode() not in content
    assert API_KEY.encode() not in content


async def test_a_revoked_key_opens_nothing_and_is_not_listed(control: Harness) -> None:
    made = (await control.call("POST", "/v1/keys", json={})).json()
    path = f"/v1/keys/{made['id']}"
    assert (await control.call("DELETE", path)).status_code == 204
    assert (await control.grant(made["key"])).status_code == 401
    assert len((await control.call("GET", "/v1/keys")).json()["keys"]) == 1
    again = await control.call("DELETE", path)
    assert (again.status_code, again.json()["code"]) == (404, "not_found")


async def test_an_expired_key_opens_nothing(control: Harness, clock: Clock) -> None:
    body = {"expires_at": NOW + 10}
    key = (await control.call("POST", "/v1/keys", json=body)).json()["key"]
    assert (await control.grant(key)).status_code == 200
    clock.now += 10
    assert (await control.grant(key)).status_code == 401


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"expires_at": NOW}, "expires_at"),
        ({"expires_at": "tomorrow"}, "expires_at"),
        ({"scopes": ["root"]}, "scopes"),
        ({"scopes": "keys"}, "scopes"),
        ({"scopes": [1]}, "scopes[0]"),
    ],
)
async def test_a_key_that_cannot_be_is_refused(
    control: Harness, body: dict[str, Any], field: str
) -> None:
    answer = await control.call("POST", "/v1/keys", json=body)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request")
    assert answer.json()["field"] == field


async def test_a_key_cannot_make_a_stronger_one(control: Harness) -> None:
    keys = (await control.call("POST", "/v1/keys", json={"scopes": ["keys"]})).json()["key"]
    weak = (await control.call("POST", "/v1/keys", json={"scopes": ["generate"]})).json()["key"]
    for key in (keys, weak):
        headers = {"Authorization": f"Bearer {key}"}
        answer = await control.client.post(
            "/v1/keys", headers=headers, json={"scopes": ["generate", "keys"]}
        )
        assert (answer.status_code, answer.json()["code"]) == (403, "scope_missing")
    inherited = await control.client.post(
        "/v1/keys", headers={"Authorization": f"Bearer {keys}"}, json={}
    )
    assert inherited.json()["scopes"] == ["keys"]


async def test_a_page_makes_keys_by_its_cookie(control: Harness) -> None:
    await control.login()
    answer = await control.client.post("/v1/keys", headers={"Origin": HOST}, json={})
    assert answer.status_code == 201


async def test_quota_shows_streams_and_what_is_taken(control: Harness) -> None:
    await control.grant(max_tokens=90)
    quota = (await control.call("GET", "/v1/quota")).json()
    tomorrow, next_month = 1_800_057_600.0, 1_801_440_000.0
    assert quota == {
        "user_id": "local",
        "streams": {"limit": 5, "in_use": 1},
        "requests": {
            "day": {"limit": None, "taken": 1, "resets_at": tomorrow},
            "month": {"limit": None, "taken": 1, "resets_at": next_month},
        },
        "tokens": {
            "day": {"limit": None, "taken": 100, "resets_at": tomorrow},
            "month": {"limit": None, "taken": 100, "resets_at": next_month},
        },
    }
