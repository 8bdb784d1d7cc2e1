"""Signing in at an issuer that somebody else wrote (`oidc-provider-mock`), over real HTTP."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator
from http.cookies import SimpleCookie
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from tests.control_plane.conftest import Start
from tests.control_plane.harness import HOST, Clock, Harness
from tests.control_plane.routes.test_sessions import TLS, cookie_of

# Not ours to mend: what the mock and its libraries warn of.
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def issuer() -> Iterator[str]:
    """Its URL."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from oidc_provider_mock import User, run_server_in_thread
    person = User(sub="1234", claims={"preferred_username": "Ada L."})
    with run_server_in_thread(user_claims=[person]) as server:
        yield f"http://localhost:{server.server_port}"


@pytest.fixture
def settings(issuer: str, clock: Clock) -> list[str]:
    clock.now = time.time()  # the issuer has a clock of its own
    return [f"oidc_issuer={issuer}", "oidc_client_id=okome"]


async def at_issuer(location: str, sub: str = "1234") -> str:
    """What a person does there; the path and query that it comes back with."""
    async with httpx.AsyncClient(trust_env=False) as browser:
        answer = await browser.post(location, data={"sub": sub})
    back = urlsplit(answer.headers["location"])
    assert f"{back.scheme}://{back.netloc}" == HOST
    return f"{back.path}?{back.query}"


async def sign_in(control: Harness, sub: str = "1234") -> httpx.Response:
    begun = await control.client.get("/auth/oidc/start")
    assert begun.status_code == 303
    return await control.client.get(await at_issuer(begun.headers["location"], sub))


async def test_who_comes_for_the_first_time_is_made_and_known_again(
    start: Start, settings: list[str]
) -> None:
    async with start(*settings, "oidc_tier=standard") as control:
        answer = await sign_in(control)
        assert (answer.status_code, answer.headers["location"]) == (303, "/")
        who = (await control.client.get("/auth/session")).json()
        assert (who["name"], who["tier"]) == ("ada-l.", "standard")
        assert "samesite=strict" in cookie_of(answer, "okome_login").lower()
        renewed = await control.client.post("/auth/refresh", headers={"Origin": HOST})
        assert renewed.json()["user_id"] == who["user_id"]
        control.client.cookies.clear()
        await sign_in(control)
        assert (await control.client.get("/auth/session")).json()["user_id"] == who["user_id"]
        control.client.cookies.clear()
        await sign_in(control, sub="5678")
        assert (await control.client.get("/auth/session")).json()["user_id"] != who["user_id"]


async def test_a_stranger_is_refused_where_nobody_is_made(
    start: Start, settings: list[str]
) -> None:
    async with start(*settings) as control:
        answer = await sign_in(control)
        assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")
        assert len((await control.admin("GET", "/users")).json()["users"]) == 1


async def test_who_is_locked_out_stays_out(start: Start, settings: list[str]) -> None:
    async with start(*settings, "oidc_tier=standard") as control:
        await sign_in(control)
        await control.admin("PATCH", "/users/ada-l.", json={"disabled": True})
        control.client.cookies.clear()
        assert (await sign_in(control)).status_code == 401


async def test_a_tier_that_there_is_not_is_told_to_the_operator(
    start: Start, settings: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    async with start(*settings, "oidc_tier=none") as control:
        answer = await sign_in(control)
        assert (answer.status_code, answer.json()["code"]) == (503, "sign_in_unavailable")
        assert "oidc_tier" in caplog.text


async def test_an_answer_counts_in_the_browser_that_asked_and_once(
    start: Start, settings: list[str]
) -> None:
    async with start(*settings, "oidc_tier=standard") as control:
        begun = await control.client.get("/auth/oidc/start")
        back = await at_issuer(begun.headers["location"])
        mine = dict(control.client.cookies)
        control.client.cookies.clear()
        assert (await control.client.get(back)).status_code == 401
        await control.client.get("/auth/oidc/start")  # a login of the other's own
        assert (await control.client.get(back)).status_code == 401
        control.client.cookies.clear()
        cookie = {"Cookie": f"okome_oidc={mine['okome_oidc']}"}
        assert (await control.client.get(back, headers=cookie)).status_code == 303
        control.client.cookies.clear()
        assert (await control.client.get(back, headers=cookie)).status_code == 401


async def test_who_refuses_at_the_issuer_is_not_signed_in(
    start: Start, settings: list[str]
) -> None:
    async with start(*settings, "oidc_tier=standard") as control:
        begun = await control.client.get("/auth/oidc/start")
        state = parse_qs(urlsplit(begun.headers["location"]).query)["state"][0]
        answer = await control.client.get(
            "/auth/oidc/callback", params={"state": state, "error": "access_denied"}
        )
        assert answer.status_code == 401
        assert "set-cookie" not in answer.headers


async def test_the_start_is_kept_in_a_private_cookie(start: Start, settings: list[str]) -> None:
    async with start(*settings) as control:
        begun = await control.client.get("/auth/oidc/start", headers=TLS)
        morsel = SimpleCookie(cookie_of(begun, "okome_oidc"))["okome_oidc"]
        assert (morsel["httponly"], morsel["secure"]) == (True, True)
        assert (morsel["path"], morsel["samesite"].lower()) == ("/auth/oidc", "lax")
        query = parse_qs(urlsplit(begun.headers["location"]).query)
        assert query["redirect_uri"] == [HOST.replace("http", "https") + "/auth/oidc/callback"]


async def test_a_sign_in_form_is_told_where_to_go(
    start: Start, control: Harness, settings: list[str]
) -> None:
    assert (await control.client.get("/auth/options")).json() == {"oidc": None}
    async with start(*settings) as with_issuer:
        found = (await with_issuer.client.get("/auth/options")).json()
        assert (await with_issuer.client.get(found["oidc"])).status_code == 303


@pytest.mark.parametrize("accept", ["text/html,application/xhtml+xml;q=0.9", "Text/HTML; q=0.5"])
async def test_a_person_is_shown_a_page_and_a_program_a_problem(
    start: Start, settings: list[str], accept: str
) -> None:
    async with start(*settings) as control:
        page = await control.client.get("/auth/oidc/callback?code=x", headers={"Accept": accept})
        assert (page.status_code, page.headers["content-type"]) == (401, "text/html; charset=utf-8")
        assert page.headers["www-authenticate"] == "Bearer"
        assert page.headers["content-security-policy"] == "default-src 'none'"
        assert '<a href="/">' in page.text
        told = await control.client.get("/auth/oidc/callback?code=x")
        assert told.headers["content-type"] == "application/problem+json"


async def test_without_an_issuer_there_is_nothing(control: Harness) -> None:
    for path in ("/auth/oidc/start", "/auth/oidc/callback"):
        assert (await control.client.get(path)).status_code == 404
