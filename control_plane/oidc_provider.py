"""The issuer of an OpenID Connect login, over HTTP: what it says of itself is kept an hour."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar
from urllib.parse import quote, urlsplit

import httpx
import msgspec

from contracts.problems import ProblemError
from control_plane.oidc import Metadata, OidcRefused, Start, Subject, verify_id_token
from inventory.settings import Settings, SettingsError

log = logging.getLogger(__name__)

T = TypeVar("T")

_TIMEOUT: Final = httpx.Timeout(5.0)
_KEPT_S: Final = 3600.0
# A token with an unknown key makes us ask for the keys anew, but not as often as one likes.
_ASK_AGAIN_S: Final = 30.0
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})


class _Keys(msgspec.Struct, frozen=True):
    keys: list[dict[str, Any]]


class _TokenAnswer(msgspec.Struct, frozen=True):
    id_token: str


class _Fault(msgspec.Struct, frozen=True):
    error: str = ""


class OidcProvider:
    """One issuer, and us as its client. Methods raise ProblemError 503 when it is away, and
    OidcRefused when what it says proves nothing."""

    def __init__(
        self,
        issuer: str,
        client_id: str,
        secret: str | None,
        client: httpx.AsyncClient,
        clock: Callable[[], float],
    ) -> None:
        self.issuer = issuer
        self.client_id = client_id
        self._secret = secret
        self._client = client
        self._clock = clock
        self._lock = asyncio.Lock()
        self._metadata: tuple[float, Metadata] | None = None
        self._keys: tuple[float, list[dict[str, Any]]] | None = None

    async def metadata(self) -> Metadata:
        """What the issuer says of itself."""
        async with self._lock:
            if self._metadata is None or self._clock() - self._metadata[0] > _KEPT_S:
                url = self.issuer.rstrip("/") + "/.well-known/openid-configuration"
                found = await self._ask(Metadata, "GET", url)
                if found.issuer != self.issuer:
                    log.error("the issuer %s calls itself %s", self.issuer, found.issuer)
                    raise _away()
                self._metadata = (self._clock(), found)
            return self._metadata[1]

    async def identify(self, code: str, start: Start, redirect_uri: str) -> Subject:
        """Whom a code stands for."""
        metadata = await self.metadata()
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": redirect_uri,
            "code_verifier": start.verifier,
        }
        headers = self._authentication(metadata, form)
        answer = await self._ask(
            _TokenAnswer, "POST", metadata.token_endpoint, data=form, headers=headers
        )
        try:
            return self._verify(answer.id_token, await self._jwks(metadata, 0), start)
        except OidcRefused as refused:
            if refused.reason != "key":
                raise
            return self._verify(answer.id_token, await self._jwks(metadata, _KEPT_S), start)

    def _verify(self, token: str, jwks: list[dict[str, Any]], start: Start) -> Subject:
        return verify_id_token(
            token,
            jwks,
            issuer=self.issuer,
            client_id=self.client_id,
            nonce=start.nonce,
            now=self._clock(),
        )

    def _authentication(self, metadata: Metadata, form: dict[str, str]) -> dict[str, str]:
        """Header fields; what belongs into the form is put there."""
        methods = metadata.token_endpoint_auth_methods_supported
        if self._secret is not None and "client_secret_basic" in methods:
            # RFC 6749, section 2.3.1: both are form-encoded first.
            user, password = quote(self.client_id, safe=""), quote(self._secret, safe="")
            auth = httpx.BasicAuth(user, password)
            request = next(auth.auth_flow(httpx.Request("POST", metadata.token_endpoint)))
            return {"Authorization": request.headers["Authorization"]}
        form["client_id"] = self.client_id
        if self._secret is not None:
            form["client_secret"] = self._secret
        return {}

    async def _jwks(self, metadata: Metadata, lacking: float) -> list[dict[str, Any]]:
        """The issuer's keys; `lacking` more than 0: one is missing in those we have."""
        async with self._lock:
            age = _KEPT_S + 1 if self._keys is None else self._clock() - self._keys[0]
            if self._keys is None or age > (_ASK_AGAIN_S if lacking else _KEPT_S):
                found = await self._ask(_Keys, "GET", metadata.jwks_uri)
                self._keys = (self._clock(), found.keys)
            return self._keys[1]

    async def _ask(
        self,
        kind: type[T],
        method: str,
        url: str,
        *,
        data: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> T:
        given = {"Accept": "application/json"} | dict(headers or {})
        try:
            answer = await self._client.request(
                method, url, data=data, headers=given, timeout=_TIMEOUT
            )
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            log.warning("the issuer does not answer: %s", type(error).__name__)
            raise _away() from error
        try:
            if answer.status_code == 200:
                return msgspec.json.decode(answer.content, type=kind)
            fault = msgspec.json.decode(answer.content, type=_Fault).error
        except msgspec.DecodeError as error:
            log.error("the issuer answers %d in no form we know", answer.status_code)
            raise _away() from error
        if fault == "invalid_grant":
            raise OidcRefused("the issuer does not know the code")
        log.error(
            "the issuer answers %d (%.50r); are client id and secret right?",
            answer.status_code,
            fault,
        )
        raise _away()


def provider_of(
    settings: Settings, secret: str | None, client: httpx.AsyncClient, clock: Callable[[], float]
) -> OidcProvider | None:
    """The issuer of the settings, None where there is none. Raises SettingsError."""
    if not settings.oidc_issuer:
        return None
    parts = urlsplit(settings.oidc_issuer)
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in _LOOPBACK):
        raise SettingsError("oidc_issuer: expected an https URL")
    if not settings.oidc_client_id:
        raise SettingsError("oidc_client_id: missing, and oidc_issuer is set")
    return OidcProvider(settings.oidc_issuer, settings.oidc_client_id, secret, client, clock)


def _away() -> ProblemError:
    return ProblemError("sign_in_unavailable", "The OpenID issuer does not answer just now.")
