"""OpenID Connect, authorization code flow with PKCE: what is sent and what is believed. Pure.

OpenID Connect Core 1.0, section 3.1; RFC 7636 (PKCE); RFC 9207 (`iss` in the answer).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import secrets
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

import jwt
import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

ALGORITHMS: Final = ("RS256", "ES256", "EdDSA")
# How long a person may take at the issuer.
START_TTL_S: Final = 600.0
CLOCK_TOLERANCE_S: Final = 30.0
_NONCE_BYTES: Final = 12
_SUBJECT_MAX: Final = 255


class OidcRefused(Exception):  # a refusal is an answer, not a fault
    """What came back proves nothing. `reason` is for logs, never for the client."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Metadata(msgspec.Struct, frozen=True, kw_only=True):
    """What the issuer says of itself (OpenID Connect Discovery 1.0, section 3)."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    token_endpoint_auth_methods_supported: tuple[str, ...] = ("client_secret_basic",)


class Start(msgspec.Struct, frozen=True, kw_only=True):
    """A login that was begun; the browser keeps it, sealed. `until` in Unix seconds."""

    state: str
    nonce: str
    verifier: str
    until: float


class Subject(msgspec.Struct, frozen=True, kw_only=True):
    """Who the issuer says it is. `wish` is how the person may want to be called."""

    issuer: str
    sub: str
    wish: str

    @property
    def key(self) -> str:
        """The form in which it is kept: no issuer has a space in it."""
        return f"{self.issuer} {self.sub}"


class _Claims(msgspec.Struct, frozen=True, kw_only=True):
    sub: str
    exp: float
    iat: float
    aud: str | list[str]
    nonce: str
    azp: str | None = None
    preferred_username: str | None = None
    email: str | None = None


def new_start(now: float) -> Start:
    """Fresh secrets for one login."""
    state, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(3))
    return Start(state=state, nonce=nonce, verifier=verifier, until=now + START_TTL_S)


def authorization_url(metadata: Metadata, client_id: str, redirect_uri: str, start: Start) -> str:
    """Where the browser is sent."""
    digest = hashlib.sha256(start.verifier.encode()).digest()
    query = {
        "response_type": "code",
        "scope": "openid profile email",
        "client_id": client_id,
        "redirect_uri": redirect_uri,
        "state": start.state,
        "nonce": start.nonce,
        "code_challenge": base64.urlsafe_b64encode(digest).decode().rstrip("="),
        "code_challenge_method": "S256",
    }
    joint = "&" if urlsplit(metadata.authorization_endpoint).query else "?"
    return f"{metadata.authorization_endpoint}{joint}{urlencode(query)}"


def seal(start: Start, key: bytes) -> str:
    """The start as a cookie that its bearer can neither read nor change."""
    nonce = os.urandom(_NONCE_BYTES)
    sealed = AESGCM(key).encrypt(nonce, msgspec.json.encode(start), None)
    return base64.urlsafe_b64encode(nonce + sealed).decode()


def unseal(cookie: str | None, key: bytes, now: float) -> Start:
    """The start in a cookie. Raises OidcRefused."""
    try:
        raw = base64.urlsafe_b64decode(cookie or "")
        opened = AESGCM(key).decrypt(raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], None)
        start = msgspec.json.decode(opened, type=Start)
    except (ValueError, InvalidTag) as error:
        raise OidcRefused("no login was begun in this browser") from error
    if start.until <= now:
        raise OidcRefused("it took too long")
    return start


def code_of(query: Mapping[str, str], start: Start, issuer: str) -> str:
    """The code in the issuer's answer. Raises OidcRefused."""
    if not hmac.compare_digest(query.get("state", "").encode(), start.state.encode()):
        raise OidcRefused("the answer is to another question")
    if query.get("iss", issuer) != issuer:
        raise OidcRefused("the answer is from another issuer")
    if "error" in query or not query.get("code"):
        raise OidcRefused("the issuer refused")
    return query["code"]


def verify_id_token(
    token: str,
    jwks: Sequence[Mapping[str, Any]],
    *,
    issuer: str,
    client_id: str,
    nonce: str,
    now: float,
) -> Subject:
    """Whom the token is about. Raises OidcRefused, with `key` where no key of `jwks` is its."""
    claims = _decode(token, _key_for(token, jwks), issuer, client_id)
    if claims.exp + CLOCK_TOLERANCE_S <= now or claims.iat - CLOCK_TOLERANCE_S > now:
        raise OidcRefused("expired")
    if not hmac.compare_digest(claims.nonce.encode(), nonce.encode()):
        raise OidcRefused("nonce")
    several = isinstance(claims.aud, list) and len(claims.aud) > 1
    if claims.azp != client_id and (several or claims.azp is not None):
        raise OidcRefused("azp")
    if not (claims.sub and len(claims.sub) <= _SUBJECT_MAX and claims.sub.isprintable()):
        raise OidcRefused("sub")
    wish = claims.preferred_username or claims.email or claims.sub
    return Subject(issuer=issuer, sub=claims.sub, wish=wish)


def _key_for(token: str, jwks: Sequence[Mapping[str, Any]]) -> jwt.PyJWK:
    try:
        header = jwt.get_unverified_header(token)
    except jwt.PyJWTError as error:
        raise OidcRefused("malformed") from error
    algorithm, kid = header.get("alg"), header.get("kid")
    if algorithm not in ALGORITHMS:
        raise OidcRefused("algorithm")
    usable = [key for key in jwks if key.get("use", "sig") == "sig"]
    named = [key for key in usable if key.get("kid") == kid] if kid else usable
    if len(named) != 1:
        raise OidcRefused("key")
    try:
        return jwt.PyJWK(dict(named[0]), algorithm=algorithm)
    except (jwt.PyJWTError, ValueError, TypeError, KeyError) as error:
        raise OidcRefused("key") from error


def _decode(token: str, key: jwt.PyJWK, issuer: str, client_id: str) -> _Claims:
    """Signature, audience, issuer and shape; times are ours to judge."""
    times_are_ours = {"verify_exp": False, "verify_iat": False, "verify_nbf": False}
    try:
        payload = jwt.decode(
            token,
            key,
            algorithms=[key.algorithm_name],
            audience=client_id,
            issuer=issuer,
            options=times_are_ours,  # type: ignore[arg-type]  # a TypedDict of PyJWT's own
        )
        return msgspec.convert(payload, _Claims)
    except jwt.InvalidSignatureError as error:
        raise OidcRefused("signature") from error
    except (jwt.PyJWTError, TypeError, ValueError) as error:
        raise OidcRefused("claims") from error
