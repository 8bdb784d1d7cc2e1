"""Signing in with a password, and staying signed in."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from control_plane.store.enrolment import set_disabled, set_password
from tests.control_plane.harness import API_KEY, HOST, NOW, Clock, Harness
from tests.control_plane.routes.test_sessions import TLS, cookie_of

PASSWORD = "correct horse battery"
OWN = {"Origin": HOST}
DAY = 86_400.0


def secret_of(answer: httpx.Response) -> str:
    return cookie_of(answer, "okome_login").partition(";")[0].partition("=")[2]


async def refresh(control: Harness, secret: str) -> httpx.Response:
    control.client.cookies.clear()
    headers = OWN | {"Cookie": f"okome_login={secret}"}
    return await control.client.post("/auth/refresh", headers=headers)


async def is_accepted(control: Harness, token: str) -> bool:
    control.client.cookies.clear()
    headers = {"Authorization": f"Bearer {token}"}
    answer = await control.client.get("/auth/session", headers=headers)
    revoked = (await control.internal("GET", "/policy")).json()["revoked"]
    assert (answer.status_code == 200) == (not revoked), "brokers and we agree"
    return answer.status_code == 200


async def test_a_name_and_a_password_open_a_session(control: Harness) -> None:
    user_id = await control.add_user("ada", PASSWORD)
    answer = await control.sign_in("Ada", PASSWORD)
    assert (answer.status_code, answer.json()["user_id"]) == (200, user_id)
    who = (await control.client.get("/auth/session")).json()
    assert (who["name"], who["scopes"]) == ("ada", ["generate", "keys"])


async def test_the_login_cookie_goes_nowhere_but_to_auth(control: Harness) -> None:
    await control.add_user("ada", PASSWORD)
    cookie = cookie_of(await control.sign_in("ada", PASSWORD), "okome_login")
    for part in ("HttpOnly", "Path=/auth", "SameSite=strict", f"Max-Age={30 * 86_400}"):
        assert part.lower() in cookie.lower()
    assert "Secure" not in cookie
    assert "; Secure" in cookie_of(await control.sign_in("ada", PASSWORD, **TLS), "okome_login")


@pytest.mark.parametrize(
    ("name", "password"),
    [
        ("ada", "wrong"),
        ("ada", ""),
        ("nobody", PASSWORD),
        ("local", ""),
        ("gone", PASSWORD),
        ("' OR 1=1 --", PASSWORD),
        ("a\u0000da", PASSWORD),
        ("", PASSWORD),
    ],
)
async def test_whatever_is_wrong_the_answer_is_the_same(
    control: Harness, name: str, password: str
) -> None:
    await control.add_user("ada", PASSWORD)
    user_id = await control.add_user("gone", PASSWORD)
    await control.plane.database.run(lambda c: set_disabled(c, user_id, True, NOW))
    answer = await control.sign_in(name, password)
    plain = await control.sign_in("somebody-else", "wrong")
    assert (answer.status_code, answer.content) == (401, plain.content)
    assert "set-cookie" not in answer.headers


async def test_an_unknown_name_is_hashed_for_all_the_same(
    control: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared = []
    matches = control.plane.passwords._matches
    monkeypatch.setattr(
        control.plane.passwords, "_matches", lambda *a: compared.append(a) or matches(*a)
    )
    await control.sign_in("nobody", PASSWORD)
    await control.sign_in("not a name", PASSWORD)
    assert len(compared) == 2


async def test_a_password_that_was_replaced_meanwhile_opens_nothing(
    control: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    user_id = await control.add_user("ada", PASSWORD)
    passwords, verify = control.plane.passwords, control.plane.passwords.verify

    async def slowly(kept: str | None, password: str) -> bool:
        matches = await verify(kept, password)
        fresh = await passwords.hash("another long password")
        await control.plane.database.run(lambda c: set_password(c, user_id, fresh))
        return matches

    monkeypatch.setattr(passwords, "verify", slowly)
    assert (await control.sign_in("ada", PASSWORD)).status_code == 401


@pytest.mark.parametrize("body", [{}, {"name": "ada"}, {"password": PASSWORD}, {"name": 5}])
async def test_half_a_login_is_a_bad_request(control: Harness, body: dict[str, object]) -> None:
    answer = await control.client.post("/auth/login", json=body)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request")


async def test_guessing_ends_at_429_and_goes_on_when_it_may(control: Harness, clock: Clock) -> None:
    await control.add_user("ada", PASSWORD)
    codes = [(await control.sign_in("ada", f"guess {i}")).status_code for i in range(12)]
    assert codes == [401] * 10 + [429] * 2
    refused = await control.sign_in("ada", PASSWORD)
    assert refused.json()["code"] == "rate_limited"
    clock.now += float(refused.headers["retry-after"])
    assert (await control.sign_in("ada", PASSWORD)).status_code == 200


async def test_the_ingress_says_who_guesses(control: Harness) -> None:
    def from_(address: str) -> dict[str, str]:
        return {"X-Forwarded-For": f"1.2.3.4, {address}"}

    key = "ok_" + "B" * 43
    codes = [(await control.login(key, **from_("10.0.0.1"))).status_code for _ in range(31)]
    assert codes == [401] * 30 + [429]
    assert (await control.login(key, **from_("10.0.0.2"))).status_code == 401
    assert (await control.login(API_KEY, **from_("10.0.0.2"))).status_code == 200


async def test_a_login_renews_its_token_again_and_again(control: Harness, clock: Clock) -> None:
    await control.add_user("ada", PASSWORD)
    answer = await control.sign_in("ada", PASSWORD)
    for _ in range(3):
        clock.now += 20 * DAY
        answer = await refresh(control, secret_of(answer))
        assert answer.status_code == 200
        assert answer.json()["expires_at"] == clock.now + 3600
        assert await is_accepted(control, answer.json()["token"])


async def test_it_ends_when_nobody_uses_it(control: Harness, clock: Clock) -> None:
    await control.add_user("ada", PASSWORD)
    secret = secret_of(await control.sign_in("ada", PASSWORD))
    clock.now += 30 * DAY
    answer = await refresh(control, secret)
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")
    assert "Max-Age=0" in cookie_of(answer, "okome_login")


async def test_it_ends_after_ninety_days_however_it_is_used(control: Harness, clock: Clock) -> None:
    await control.add_user("ada", PASSWORD)
    answer = await control.sign_in("ada", PASSWORD)
    for _ in range(4):
        clock.now += 22 * DAY
        answer = await refresh(control, secret_of(answer))
    assert f"Max-Age={int(2 * DAY)};" in cookie_of(answer, "okome_login")
    clock.now += 2 * DAY
    assert (await refresh(control, secret_of(answer))).status_code == 401


async def test_a_replaced_secret_ends_the_login_for_both(control: Harness, clock: Clock) -> None:
    await control.add_user("ada", PASSWORD)
    stolen = secret_of(await control.sign_in("ada", PASSWORD))
    renewed = await refresh(control, stolen)
    clock.now += 60
    assert (await refresh(control, stolen)).status_code == 401
    assert (await refresh(control, secret_of(renewed))).status_code == 401
    assert not await is_accepted(control, renewed.json()["token"])


async def test_two_tabs_may_renew_at_the_same_time(control: Harness, clock: Clock) -> None:
    await control.add_user("ada", PASSWORD)
    secret = secret_of(await control.sign_in("ada", PASSWORD))
    first, second, third = await asyncio.gather(*(refresh(control, secret) for _ in range(3)))
    assert secret_of(first) == secret_of(second) == secret_of(third) != secret
    clock.now += 60
    assert (await refresh(control, secret_of(second))).status_code == 200


@pytest.mark.parametrize("origin", [None, "http://evil.test"])
async def test_another_site_cannot_renew(control: Harness, origin: str | None) -> None:
    secret = secret_of(await control.login())
    headers = {"Cookie": f"okome_login={secret}"} | ({"Origin": origin} if origin else {})
    answer = await control.client.post("/auth/refresh", headers=headers)
    assert answer.json()["code"] == "origin_not_allowed"


async def test_nothing_that_opens_anything_is_in_the_store(control: Harness) -> None:
    await control.add_user("ada", PASSWORD)
    answer = await control.sign_in("ada", PASSWORD)
    await refresh(control, secret_of(answer))
    await control.sign_in("ada", "a wrong guess")
    await control.plane.keep_tally()
    kept = await control.kept()
    assert "ada" in kept
    for secret in (
        PASSWORD,
        "a wrong guess",
        answer.json()["token"],
        *secret_of(answer).split("."),
    ):
        assert secret not in kept


async def test_logins_that_are_over_are_forgotten(control: Harness, clock: Clock) -> None:
    await control.add_user("ada", PASSWORD)
    await control.sign_in("ada", PASSWORD)
    clock.now = NOW + 32 * DAY
    await control.plane.prune()
    kept = await control.kept()
    assert "logins (" not in kept


async def link(control: Harness) -> str:
    token = (await control.call("POST", "/auth/token")).json()["token"]
    control.client.cookies.clear()
    return str(token)


async def test_a_link_opens_a_login_once(control: Harness) -> None:
    token = await link(control)
    answer = await control.client.post("/auth/enter", json={"token": token})
    assert (answer.status_code, answer.json()["user_id"]) == (200, "local")
    assert (await refresh(control, secret_of(answer))).status_code == 200
    again = await control.client.post("/auth/enter", json={"token": token})
    assert (again.status_code, again.json()["code"]) == (401, "unauthenticated")
    assert (await control.grant(token)).status_code == 401


async def test_a_link_is_for_ten_minutes(control: Harness, clock: Clock) -> None:
    token = await link(control)
    clock.now += 600
    assert (await control.client.post("/auth/enter", json={"token": token})).status_code == 401
    assert (await control.grant(token)).status_code == 200


@pytest.mark.parametrize("token", ["", "a.b.c", API_KEY])
async def test_no_other_link_opens_anything(control: Harness, token: str) -> None:
    assert (await control.client.post("/auth/enter", json={"token": token})).status_code == 401


async def test_the_token_of_a_login_is_no_link(control: Harness) -> None:
    token = (await control.login()).json()["token"]
    answer = await control.client.post("/auth/enter", json={"token": token})
    assert answer.status_code == 401
    assert await is_accepted(control, token)
