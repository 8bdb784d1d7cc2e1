"""How a login ends: with its key, by its owner, everywhere, with another password."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import httpx
import pytest

from tests.control_plane.harness import Clock, Harness
from tests.control_plane.routes.test_logins import (
    DAY,
    OWN,
    PASSWORD,
    is_accepted,
    refresh,
    secret_of,
)
from tests.control_plane.routes.test_sessions import cookie_of


async def test_a_login_ends_with_the_key_it_was_made_from(control: Harness) -> None:
    made = (await control.call("POST", "/v1/keys", json={"scopes": ["generate"]})).json()
    answer = await control.login(made["key"])
    renewed = await refresh(control, secret_of(answer))
    assert await is_accepted(control, renewed.json()["token"])
    await control.call("DELETE", f"/v1/keys/{made['id']}")
    assert not await is_accepted(control, renewed.json()["token"])
    assert (await refresh(control, secret_of(renewed))).status_code == 401


async def test_logout_ends_the_login_also_when_its_token_has_expired(
    control: Harness, clock: Clock
) -> None:
    await control.add_user("ada", PASSWORD)
    answer = await control.sign_in("ada", PASSWORD)
    secret = secret_of(answer)
    clock.now += DAY
    headers = OWN | {"Cookie": f"okome_login={secret}"}
    left = await control.client.post("/auth/logout", headers=headers)
    assert left.status_code == 204
    assert "Max-Age=0" in cookie_of(left, "okome_login")
    assert (await refresh(control, secret)).status_code == 401


async def test_logout_of_a_token_ends_its_login(control: Harness) -> None:
    await control.add_user("ada", PASSWORD)
    answer = await control.sign_in("ada", PASSWORD)
    control.client.cookies.clear()
    headers = {"Authorization": f"Bearer {answer.json()['token']}"}
    await control.client.post("/auth/logout", headers=headers)
    assert (await refresh(control, secret_of(answer))).status_code == 401


Way = Callable[[Harness, str, str], Awaitable[httpx.Response]]


async def by_session(control: Harness, token: str, _: str) -> httpx.Response:
    headers = OWN | {"Cookie": f"okome_session={token}"}
    return await control.client.post("/auth/logout", headers=headers, json={"everywhere": True})


async def by_login(control: Harness, _: str, secret: str) -> httpx.Response:
    headers = OWN | {"Cookie": f"okome_login={secret}"}
    return await control.client.post("/auth/logout", headers=headers, json={"everywhere": True})


@pytest.mark.parametrize("way", [by_session, by_login])
async def test_logout_everywhere_ends_every_login_and_token(control: Harness, way: Way) -> None:
    await control.add_user("ada", PASSWORD)
    here, there = [await control.sign_in("ada", PASSWORD) for _ in range(2)]
    control.client.cookies.clear()
    left = await way(control, here.json()["token"], secret_of(here))
    assert left.status_code == 204
    for answer in (here, there):
        assert not await is_accepted(control, answer.json()["token"])
        assert (await refresh(control, secret_of(answer))).status_code == 401
    assert (await control.sign_in("ada", PASSWORD)).status_code == 200


async def test_logout_everywhere_needs_to_know_whose(control: Harness) -> None:
    answer = await control.client.post("/auth/logout", headers=OWN, json={"everywhere": True})
    assert answer.status_code == 401


async def test_a_new_password_ends_the_other_logins(control: Harness) -> None:
    await control.add_user("ada", PASSWORD)
    other = await control.sign_in("ada", PASSWORD)
    here = await control.sign_in("ada", PASSWORD)
    body = {"current": PASSWORD, "new": "another long password"}
    changed = await control.client.post("/auth/password", headers=OWN, json=body)
    assert changed.status_code == 204
    assert (await refresh(control, secret_of(other))).status_code == 401
    assert (await refresh(control, secret_of(here))).status_code == 200
    assert (await control.sign_in("ada", PASSWORD)).status_code == 401
    assert (await control.sign_in("ada", body["new"])).status_code == 200


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"current": "wrong", "new": "another long password"}, "current"),
        ({"current": PASSWORD, "new": "short"}, "new"),
        ({"current": PASSWORD}, "new"),
    ],
)
async def test_a_password_is_not_changed_by_who_does_not_know_it(
    control: Harness, body: dict[str, str], field: str
) -> None:
    await control.add_user("ada", PASSWORD)
    await control.sign_in("ada", PASSWORD)
    answer = await control.client.post("/auth/password", headers=OWN, json=body)
    assert (answer.status_code, answer.json()["field"]) == (400, field)
    assert (await control.sign_in("ada", PASSWORD)).status_code == 200
