"""The issuer over HTTP: asked seldom, believed little, and away at times."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from contracts.problems import ProblemError
from control_plane.oidc import OidcRefused, Start
from control_plane.oidc_provider import OidcProvider, provider_of
from inventory.settings import Settings, SettingsError
from tests.control_plane.harness import Clock
from tests.control_plane.test_oidc import EC, ISSUER, JWKS, NOW, signed

START = Start(state="s", nonce="n", verifier="v" * 43, until=NOW + 600)
BACK = "https://okome.test/auth/oidc/callback"


class Issuer(httpx.AsyncBaseTransport):
    """An issuer that does as it is told."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.form = ""
        self.authorization: str | None = None
        self.away = False
        self.status = 200
        self.metadata: dict[str, Any] = {
            "issuer": ISSUER,
            "authorization_endpoint": f"{ISSUER}/authorize",
            "token_endpoint": f"{ISSUER}/token",
            "jwks_uri": f"{ISSUER}/jwks",
        }
        self.keys: list[dict[str, Any]] = [JWKS[0]]
        self.token: Any = {"id_token": signed()}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request.url.path)
        if self.away:
            raise httpx.ConnectTimeout("away", request=request)
        answers = {"/jwks": {"keys": self.keys}, "/token": self.token}
        if request.url.path == "/token":
            self.form = (await request.aread()).decode()
            self.authorization = request.headers.get("authorization")
            return httpx.Response(self.status, json=self.token, request=request)
        return httpx.Response(
            200, json=answers.get(request.url.path, self.metadata), request=request
        )


@pytest.fixture
def issuer() -> Issuer:
    return Issuer()


@pytest.fixture
def clock() -> Clock:
    return Clock(NOW)


@pytest.fixture
async def client(issuer: Issuer) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(transport=issuer) as client:
        yield client


@pytest.fixture
def provider(client: httpx.AsyncClient, clock: Clock) -> OidcProvider:
    return OidcProvider(ISSUER, "okome", "a secret", client, clock)


async def test_it_is_asked_once_an_hour(
    provider: OidcProvider, issuer: Issuer, clock: Clock
) -> None:
    for _ in range(3):
        assert (await provider.identify("c", START, BACK)).sub == "1234"
    assert issuer.asked.count("/.well-known/openid-configuration") == 1
    assert issuer.asked.count("/jwks") == 1
    clock.now += 3601
    await provider.metadata()
    assert issuer.asked.count("/.well-known/openid-configuration") == 2


async def test_a_new_key_is_looked_for_but_not_as_often_as_one_likes(
    provider: OidcProvider, issuer: Issuer, clock: Clock
) -> None:
    await provider.identify("c", START, BACK)
    issuer.token, issuer.keys = {"id_token": signed(EC, "ES256", "ec")}, [JWKS[1]]
    with pytest.raises(OidcRefused):
        await provider.identify("c", START, BACK)
    clock.now += 31
    await provider.identify("c", START, BACK)
    assert issuer.asked.count("/jwks") == 2


@pytest.mark.parametrize(
    ("methods", "secret", "basic", "in_form"),
    [
        (None, "a secret:", True, ()),
        (["client_secret_basic", "client_secret_post"], "a secret:", True, ()),
        (["client_secret_post"], "a secret:", False, ("client_id", "client_secret=a+secret")),
        (["none"], None, False, ("client_id",)),
    ],
)
async def test_it_says_who_it_is_as_the_issuer_likes_it(
    client: httpx.AsyncClient,
    issuer: Issuer,
    clock: Clock,
    methods: list[str] | None,
    secret: str | None,
    basic: bool,
    in_form: tuple[str, ...],
) -> None:
    if methods is not None:
        issuer.metadata["token_endpoint_auth_methods_supported"] = methods
    await OidcProvider(ISSUER, "okome", secret, client, clock).identify("c", START, BACK)
    expected = "Basic " + base64.b64encode(b"okome:a%20secret%3A").decode()
    assert issuer.authorization == (expected if basic else None)
    assert all(part in issuer.form for part in in_form)
    assert ("client_secret" in issuer.form) == ("client_secret=a+secret" in in_form)
    assert "code_verifier=" + "v" * 43 in issuer.form


async def test_an_issuer_that_is_away_is_503(provider: OidcProvider, issuer: Issuer) -> None:
    issuer.away = True
    with pytest.raises(ProblemError) as refused:
        await provider.metadata()
    assert (refused.value.code, refused.value.status) == ("sign_in_unavailable", 503)
    issuer.away = False
    assert (await provider.metadata()).issuer == ISSUER


async def test_an_issuer_of_another_name_is_not_believed(
    provider: OidcProvider, issuer: Issuer
) -> None:
    issuer.metadata["issuer"] = "https://evil.test"
    with pytest.raises(ProblemError):
        await provider.metadata()


@pytest.mark.parametrize(
    ("status", "answer"),
    [(500, {}), (302, {}), (200, {}), (200, []), (401, {"error": "invalid_client"}), (400, [])],
)
async def test_an_answer_in_no_known_form_is_503(
    provider: OidcProvider, issuer: Issuer, status: int, answer: Any
) -> None:
    issuer.status, issuer.token = status, answer
    with pytest.raises(ProblemError):
        await provider.identify("c", START, BACK)


async def test_a_code_that_it_does_not_know_proves_nothing(
    provider: OidcProvider, issuer: Issuer
) -> None:
    issuer.status, issuer.token = 400, {"error": "invalid_grant"}
    with pytest.raises(OidcRefused):
        await provider.identify("c", START, BACK)


@pytest.mark.parametrize(
    ("url", "client_id"),
    [("http://id.test", "okome"), ("id.test", "okome"), ("https://id.test", "")],
)
async def test_settings_that_cannot_work_are_refused(
    client: httpx.AsyncClient, clock: Clock, url: str, client_id: str
) -> None:
    settings = Settings(oidc_issuer=url, oidc_client_id=client_id)
    with pytest.raises(SettingsError, match="oidc_"):
        provider_of(settings, None, client, clock)


async def test_without_an_issuer_there_is_none(client: httpx.AsyncClient, clock: Clock) -> None:
    assert provider_of(Settings(), None, client, clock) is None
    local = Settings(oidc_issuer="http://localhost:1", oidc_client_id="okome")
    assert provider_of(local, None, client, clock) is not None
