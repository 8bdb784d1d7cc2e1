"""Login, logout and the tokens between them, over HTTP."""

from __future__ import annotations

from http.cookies import SimpleCookie

import httpx
import jwt
import pytest

from tests.control_plane.harness import API_KEY, HOST, NOW, SERVICE_KEY, Clock, Harness

TLS = {"X-Forwarded-Proto": "https"}


def cookie_of(answer: httpx.Response, name: str = "okome_session") -> str:
    (found,) = (c for c in answer.headers.get_list("set-cookie") if c.startswith(f"{name}="))
    return found


async def test_login_gives_the_token_in_the_body_and_as_a_cookie(control: Harness) -> None:
    answer = await control.login()
    body = answer.json()
    assert (answer.status_code, body["user_id"]) == (200, "local")
    assert body["expires_at"] == NOW + 3600
    morsel = SimpleCookie(cookie_of(answer))["okome_session"]
    assert morsel.value == body["token"]
    assert (morsel["path"], morsel["samesite"].lower()) == ("/", "lax")
    assert (morsel["httponly"], morsel["secure"]) == (True, "")
    assert morsel["max-age"] == "3600"
    assert answer.headers["cache-control"] == "no-store"


async def test_the_token_says_who_and_which_key_signed_it(control: Harness) -> None:
    token = (await control.login()).json()["token"]
    header = jwt.get_unverified_header(token)
    (jwk,) = (await control.client.get("/auth/jwks.json")).json()["keys"]
    assert (header["alg"], header["kid"]) == ("EdDSA", jwk["kid"])
    claims = jwt.decode(token, options={"verify_signature": False})
    assert claims["scopes"] == ["generate", "keys"]
    assert set(jwk) == {"kty", "crv", "x", "kid", "use", "alg"}  # no private `d`


@pytest.mark.parametrize("proto", ["https", "HTTPS"])
async def test_the_cookie_is_secure_exactly_when_the_client_came_by_tls(
    control: Harness, proto: str
) -> None:
    assert "; Secure" in cookie_of(await control.login(**{"X-Forwarded-Proto": proto}))
    assert "; Secure" not in cookie_of(await control.login(**{"X-Forwarded-Proto": "http"}))
    assert "; Secure" not in cookie_of(await control.login())


async def test_auth_token_is_login_with_a_bearer_key(control: Harness) -> None:
    answer = await control.call("POST", "/auth/token")
    assert answer.status_code == 200
    assert answer.json()["token"] in cookie_of(answer)


@pytest.mark.parametrize("api_key", ["", "ok_" + "B" * 43, SERVICE_KEY, "ok_\u0000"])
async def test_a_key_that_opens_nothing_is_401_and_sets_no_cookie(
    control: Harness, api_key: str
) -> None:
    answer = await control.login(api_key)
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")
    assert "set-cookie" not in answer.headers


async def test_a_session_cannot_prolong_itself(control: Harness) -> None:
    token = (await control.login()).json()["token"]
    assert (await control.login(token)).status_code == 401
    headers = {"Authorization": f"Bearer {token}"}
    assert (await control.client.post("/auth/token", headers=headers)).status_code == 401
    control.client.cookies.clear()
    assert (await control.client.post("/auth/token")).status_code == 401


async def test_a_session_ends_with_the_key_it_was_made_from(control: Harness) -> None:
    body = {"expires_at": NOW + 100}
    key = (await control.call("POST", "/v1/keys", json=body)).json()["key"]
    assert (await control.login(key)).json()["expires_at"] == NOW + 100


async def test_revoking_a_key_ends_the_sessions_made_from_it(control: Harness) -> None:
    made = (await control.call("POST", "/v1/keys", json={})).json()
    token = (await control.login(made["key"])).json()["token"]
    await control.call("DELETE", f"/v1/keys/{made['id']}")
    assert (await control.grant(token)).status_code == 401
    assert (await control.login(made["key"])).status_code == 401


async def test_who_am_i_by_key_by_token_and_by_cookie(control: Harness) -> None:
    by_key = (await control.call("GET", "/auth/session")).json()
    assert by_key == {
        "user_id": "local",
        "name": "local",
        "tier": "standard",
        "scopes": ["generate", "keys"],
        "method": "key",
        "expires_at": None,
    }
    await control.login()
    by_cookie = await control.client.get("/auth/session")
    assert by_cookie.json() == by_key | {"method": "session", "expires_at": NOW + 3600}
    control.client.cookies.clear()
    assert (await control.client.get("/auth/session")).status_code == 401


async def test_a_bad_authorization_is_not_saved_by_a_good_cookie(control: Harness) -> None:
    await control.login()
    for value in ("Basic abc", "Bearer ", "Bearer wrong"):
        answer = await control.client.get("/auth/session", headers={"Authorization": value})
        assert answer.status_code == 401


async def test_logout_revokes_the_token_and_clears_the_cookie(control: Harness) -> None:
    token = (await control.login()).json()["token"]
    answer = await control.client.post("/auth/logout", headers={"Origin": HOST})
    assert (answer.status_code, answer.content) == (204, b"")
    assert "Max-Age=0" in cookie_of(answer)
    headers = {"Authorization": f"Bearer {token}"}
    assert (await control.client.get("/auth/session", headers=headers)).status_code == 401
    again = await control.client.post("/auth/logout", headers=headers)
    assert again.status_code == 204


async def test_logout_by_api_key_leaves_the_key_alone(control: Harness) -> None:
    assert (await control.call("POST", "/auth/logout")).status_code == 204
    assert (await control.call("GET", "/auth/session")).status_code == 200


async def test_an_expired_session_can_still_be_logged_out_of(
    control: Harness, clock: Clock
) -> None:
    await control.login()
    clock.now += 50_000
    answer = await control.client.post("/auth/logout", headers={"Origin": HOST})
    assert (answer.status_code, "Max-Age=0" in cookie_of(answer)) == (204, True)


@pytest.mark.parametrize(
    "origin",
    [None, "", "null", "http://evil.test", "http://okome.test.evil.test", "http://okome.test:81"],
)
async def test_another_site_cannot_use_the_cookie(control: Harness, origin: str | None) -> None:
    await control.login()
    headers = {} if origin is None else {"Origin": origin}
    for path in ("/auth/logout", "/v1/keys"):
        answer = await control.client.post(path, headers=headers, json={})
        assert (answer.status_code, answer.json()["code"]) == (403, "origin_not_allowed")
    assert (await control.client.get("/auth/session", headers=headers)).status_code == 200


async def test_behind_tls_the_origin_is_https(control: Harness) -> None:
    token = (await control.login()).json()["token"]
    cookie = {"Cookie": f"okome_session={token}"} | TLS
    plain = await control.client.post("/v1/keys", headers=cookie | {"Origin": HOST}, json={})
    assert plain.status_code == 403
    https = {"Origin": HOST.replace("http", "https")}
    assert (await control.client.post("/v1/keys", headers=cookie | https, json={})).is_success


async def test_a_wrong_login_body_names_its_field(control: Harness) -> None:
    answer = await control.client.post("/auth/login", json={"api_key": 5})
    assert (answer.status_code, answer.json()["field"]) == (400, "api_key")
    assert API_KEY not in answer.text
