"""What an operator does over the admin API, and that nobody else can."""

from __future__ import annotations

from typing import Any

import pytest

from tests.control_plane.conftest import Start
from tests.control_plane.harness import ADMIN_KEY, API_KEY, NOW, SERVICE_KEY, Clock, Harness

PASSWORD = "correct horse battery"


async def add(control: Harness, name: str = "ada", **body: Any) -> dict[str, Any]:
    answer = await control.admin("POST", "/users", json={"name": name} | body)
    assert answer.status_code == 201, answer.text
    return answer.json()


async def audit(control: Harness, **asked: str) -> list[dict[str, Any]]:
    return (await control.admin("GET", "/audit", params=asked)).json()["audit"]


@pytest.mark.parametrize("key", [None, API_KEY, SERVICE_KEY, "", "x" * 43])
async def test_only_the_admin_key_opens_it(control: Harness, key: str | None) -> None:
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    for route in control.client._transport.app.routes:  # type: ignore[attr-defined]
        if route.path.startswith("/internal/v1/admin"):
            path = route.path.replace("{user}", "local")
            for method in route.methods - {"HEAD"}:
                answer = await control.client.request(method, path, headers=headers, json={})
                assert answer.status_code == 401, (method, path)


async def test_the_admin_key_opens_nothing_else(control: Harness) -> None:
    headers = {"Authorization": f"Bearer {ADMIN_KEY}"}
    for path in ("/internal/v1/policy", "/v1/keys", "/auth/session"):
        assert (await control.client.get(path, headers=headers)).status_code == 401


async def test_a_user_is_made_listed_and_found_by_id_and_name(control: Harness) -> None:
    made = await add(control, "Ada", password=PASSWORD)
    assert (made["name"], made["tier"], made["has_password"]) == ("ada", "standard", True)
    assert "password" not in made
    names = [user["name"] for user in (await control.admin("GET", "/users")).json()["users"]]
    assert names == ["ada", "local"]
    for named in ("ada", made["id"]):
        assert (await control.admin("GET", f"/users/{named}")).json() == made
    assert (await control.sign_in("ada", PASSWORD)).status_code == 200


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "name"),
        ({"name": ""}, "name"),
        ({"name": "a b"}, "name"),
        ({"name": "-a"}, "name"),
        ({"name": "a" * 65}, "name"),
        ({"name": "user_0123456789abcdef"}, "name"),
        ({"name": "a\u0000"}, "name"),
        ({"name": "'; DROP TABLE users; --"}, "name"),
        ({"name": "local"}, "name"),
        ({"name": "ada", "tier": "none"}, "tier"),
        ({"name": "ada", "tier": "a\u0000"}, "tier"),
        ({"name": "ada", "password": "short"}, "password"),
    ],
)
async def test_a_wrong_user_is_refused_by_field(
    control: Harness, body: dict[str, Any], field: str
) -> None:
    answer = await control.admin("POST", "/users", json=body)
    assert (answer.status_code, answer.json()["field"]) == (400, field)
    assert len((await control.admin("GET", "/users")).json()["users"]) == 1


async def test_who_is_locked_out_is_out_everywhere_at_once(control: Harness) -> None:
    await add(control, password=PASSWORD)
    token = (await control.sign_in("ada", PASSWORD)).json()["token"]
    key = (await control.admin("POST", "/users/ada/keys", json={})).json()["key"]
    assert (await control.grant(token)).status_code == 200
    await control.admin("PATCH", "/users/ada", json={"disabled": True})
    for credential in (token, key):
        assert (await control.grant(credential)).status_code == 401
    policy = (await control.internal("GET", "/policy")).json()
    assert len(policy["revoked"]) == 1
    assert len(policy["key_hashes"]) == 1
    await control.admin("PATCH", "/users/ada", json={"disabled": False})
    assert (await control.grant(key)).status_code == 200
    assert (await control.grant(token)).status_code == 401


async def test_a_new_password_ends_the_logins(control: Harness) -> None:
    await add(control, password=PASSWORD)
    token = (await control.sign_in("ada", PASSWORD)).json()["token"]
    await control.admin("PATCH", "/users/ada", json={"password": "another long one"})
    assert (await control.grant(token)).status_code == 401
    assert (await control.sign_in("ada", PASSWORD)).status_code == 401
    assert (await control.sign_in("ada", "another long one")).status_code == 200
    await control.admin("PATCH", "/users/ada", json={"password": None})
    assert (await control.sign_in("ada", "another long one")).status_code == 401


async def test_keys_of_any_user_are_made_listed_and_revoked(control: Harness) -> None:
    await add(control)
    body = {"name": "laptop", "scopes": ["generate"], "expires_at": NOW + 60}
    made = (await control.admin("POST", "/users/ada/keys", json=body)).json()
    assert made.pop("key").startswith(made["prefix"])
    assert (await control.admin("GET", "/users/ada/keys")).json() == {"keys": [made]}
    assert (await control.admin("DELETE", f"/keys/{made['id']}")).status_code == 204
    assert (await control.admin("DELETE", f"/keys/{made['id']}")).status_code == 404
    assert (await control.admin("GET", "/users/ada/keys")).json() == {"keys": []}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"scopes": ["all"]}, "scopes"),
        ({"expires_at": NOW}, "expires_at"),
        ({"name": "a\u0000"}, "name"),
    ],
)
async def test_a_wrong_key_is_refused_by_field(
    control: Harness, body: dict[str, Any], field: str
) -> None:
    answer = await control.admin("POST", "/users/local/keys", json=body)
    assert (answer.status_code, answer.json()["field"]) == (400, field)


async def test_tiers_and_users_have_limits(control: Harness) -> None:
    await add(control)
    await control.admin("PATCH", "/tiers/gold", json={"streams": 9, "tokens_day": 1000})
    await control.admin("PATCH", "/users/ada", json={"tier": "gold"})
    await control.admin("PATCH", "/users/ada/quota", json={"tokens_day": 50})
    quota = (await control.admin("GET", "/users/ada/quota")).json()
    assert (quota["limits"]["streams"], quota["limits"]["tokens_day"]) == (9, 50)
    assert quota["own"]["streams"] is None
    assert quota["taken"]["tokens_day"] == 0
    await control.admin("PATCH", "/users/ada/quota", json={"tokens_day": None})
    quota = (await control.admin("GET", "/users/ada/quota")).json()
    assert quota["limits"]["tokens_day"] == 1000
    tiers = (await control.admin("GET", "/tiers")).json()["tiers"]
    assert [tier["name"] for tier in tiers] == ["gold", "standard"]
    assert tiers[0]["tokens_day"] == 1000


@pytest.mark.parametrize("value", [-1, 1.5, "many", 1 << 60, True])
async def test_a_limit_is_a_whole_number(control: Harness, value: object) -> None:
    answer = await control.admin("PATCH", "/tiers/standard", json={"tokens_day": value})
    assert (answer.status_code, answer.json()["field"]) == (400, "tokens_day")


async def test_the_usage_of_a_month_is_summed_and_listed(control: Harness, clock: Clock) -> None:
    other = (await add(control))["id"]
    usage = {"prompt_tokens": 3, "completion_tokens": 4, "estimated": True}
    for number in range(3):
        await control.settle(job_id=f"n03w0-{number}", created_at=NOW + (number - 2) * 86_400)
    await control.settle(job_id="n03w0-9", user_id=other, usage=usage)
    await control.settle(job_id="n03w0-old", created_at=NOW - 40 * 86_400)
    sums = (await control.admin("GET", "/usage")).json()
    assert sums["month"] == "2027-01"
    by_user = {entry["user"]: entry for entry in sums["usage"]}
    assert by_user["local"]["requests"] == 3
    assert by_user["local"]["prompt_tokens"] == 30
    assert (by_user["ada"]["completion_tokens"], by_user["ada"]["estimated"]) == (4, 1)
    of_one = await control.admin("GET", "/usage", params={"user": "ada", "month": "2027-01"})
    assert [entry["user"] for entry in of_one.json()["usage"]] == ["ada"]
    assert (await control.admin("GET", "/usage", params={"month": "2026-12"})).json()["usage"]
    seen, after = [], {}
    while True:
        page = await control.admin("GET", "/usage/jobs", params={"limit": "3"} | after)
        seen += [job["job_id"] for job in page.json()["jobs"]]
        if page.json()["next"] is None:
            break
        after = {"after": page.json()["next"]}
    assert seen == ["n03w0-0", "n03w0-1", "n03w0-2", "n03w0-9"]


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/usage?month=2026-13", "month"),
        ("/usage?month=0001-01", "month"),
        ("/usage?month=", "month"),
        ("/usage/jobs?limit=0", "limit"),
        ("/usage/jobs?limit=1001", "limit"),
        ("/usage/jobs?after=nan:a", "after"),
        ("/usage/jobs?after=1%00", "after"),
        ("/audit?before=x", "before"),
        ("/audit?actor=%00", "actor"),
    ],
)
async def test_a_wrong_question_is_refused_by_field(
    control: Harness, path: str, field: str
) -> None:
    answer = await control.admin("GET", path)
    assert (answer.status_code, answer.json()["field"]) == (400, field)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/users/nobody"),
        ("GET", "/usage?user=nobody"),
        ("DELETE", "/keys/key_0000000000000000"),
        ("DELETE", "/keys/%00"),
        ("DELETE", "/logins/login_0"),
        ("DELETE", "/logins/%00"),
        ("GET", "/users/%00"),
    ],
)
async def test_what_there_is_not_is_404(control: Harness, method: str, path: str) -> None:
    assert (await control.admin(method, path)).status_code == 404


async def test_logins_are_listed_and_ended(control: Harness) -> None:
    await add(control, password=PASSWORD)
    tokens = [(await control.sign_in("ada", PASSWORD)).json()["token"] for _ in range(3)]
    await control.login()
    everybody = (await control.admin("GET", "/logins")).json()["logins"]
    assert sorted(login["user"] for login in everybody) == ["ada", "ada", "ada", "local"]
    first, *_ = (await control.admin("GET", "/logins?user=ada")).json()["logins"]
    assert (await control.admin("DELETE", f"/logins/{first['id']}")).status_code == 204
    assert [(await control.grant(token)).status_code for token in tokens].count(401) == 1
    assert (await control.admin("DELETE", "/users/ada/logins")).json() == {"ended": 2}
    assert [(await control.grant(token)).status_code for token in tokens] == [401] * 3


async def test_who_did_what_is_kept_and_no_secret_with_it(control: Harness) -> None:
    made = await add(control, password=PASSWORD)
    key = (await control.admin("POST", "/users/ada/keys", json={})).json()
    await control.admin("DELETE", f"/keys/{key['id']}")
    await control.admin("PATCH", "/users/ada", json={"disabled": True})
    await control.admin("PATCH", "/tiers/standard", json={"streams": 2})
    lines = await audit(control)
    assert [(line["action"], line["subject"]) for line in reversed(lines)] == [
        ("user.add", made["id"]),
        ("key.add", key["id"]),
        ("key.revoke", key["id"]),
        ("user.disable", made["id"]),
        ("tier.limits", "standard"),
    ]
    assert {line["actor"] for line in lines} == {"admin"}
    assert PASSWORD not in str(lines)
    assert key["key"] not in str(lines)


async def test_logins_and_refusals_are_kept(control: Harness) -> None:
    user_id = (await add(control, password=PASSWORD))["id"]
    await control.sign_in("ada", PASSWORD)
    for guess in ("one", "two"):
        await control.sign_in("ada", guess)
    await control.sign_in("my own password, typed into the name", PASSWORD)
    await control.grant("ok_" + "B" * 43)
    for _ in range(3):
        await control.grant(model="none")
    lines = {(li["actor"], li["action"], li["outcome"]): li for li in await audit(control)}
    assert lines[user_id, "login", "ok"]["detail"] == {"by": "password"}
    assert lines[user_id, "login", "unauthenticated"]["detail"] == {"count": 2}
    assert lines["nobody", "login", "unauthenticated"]["detail"] == {"count": 1}
    assert lines["nobody", "grant", "unauthenticated"]["detail"] == {"count": 1}
    assert lines["local", "grant", "unknown_model"]["detail"] == {"count": 3}
    assert "typed into" not in str(lines)


async def test_the_log_is_read_in_pages_and_by_actor(control: Harness) -> None:
    for number in range(5):
        await add(control, f"user{number}")
    first = await audit(control, limit="2")
    rest = await audit(control, before=str(first[-1]["id"]))
    assert [line["detail"]["name"] for line in first + rest] == [
        f"user{number}" for number in (4, 3, 2, 1, 0)
    ]
    await control.login()
    assert [line["action"] for line in await audit(control, actor="local")] == ["login"]
    assert len(await audit(control, action="user.add")) == 5


async def test_the_log_is_kept_for_ninety_days(start: Start, clock: Clock) -> None:
    async with start() as control:
        await add(control)
        clock.now += 90 * 86_400 - 1
        await control.plane.prune()
        assert len(await audit(control)) == 1
        clock.now += 2
        await control.plane.prune()
        assert await audit(control) == []


async def test_what_was_counted_is_kept_at_the_end(start: Start) -> None:
    async with start() as control:
        await control.grant(model="none")
    async with start() as control:
        assert [line["outcome"] for line in await audit(control)] == ["unknown_model"]
