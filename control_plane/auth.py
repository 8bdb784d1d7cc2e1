"""Who is asking: pure decisions on credentials, scopes and origins."""

from __future__ import annotations

import hmac
import re
import secrets
from dataclasses import dataclass
from typing import Final, Literal

from contracts.policy import API_KEY_PREFIX, SCOPES, SessionClaims, hash_key
from contracts.problems import ProblemError
from contracts.tokens import PublicKeys, TokenRefused, verify_token

_API_KEY: Final = re.compile(re.escape(API_KEY_PREFIX) + r"[A-Za-z0-9_-]{43}")
_PREFIX_SHOWN: Final = len(API_KEY_PREFIX) + 6
SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})


@dataclass(frozen=True, slots=True)
class Identity:
    """A caller that proved who it is. `proof_id` is the id of its API key or the `jti` of its
    token; `expires_at` in Unix seconds, None: never."""

    user_id: str
    tier: str
    scopes: tuple[str, ...]
    method: Literal["key", "session"]
    proof_id: str
    expires_at: float | None


@dataclass(frozen=True, slots=True)
class KeyProof:
    """A string in the form of an API key, already hashed; whether it exists the store knows."""

    key_hash: str


Proof = KeyProof | SessionClaims


def unauthenticated() -> ProblemError:
    """The one refusal for every credential that proves nothing: it tells no reason."""
    return ProblemError("unauthenticated", "Send a valid API key or session token.")


def new_api_key() -> str:
    """A fresh API key: `ok_` and 43 URL-safe characters, 256 random bits."""
    return API_KEY_PREFIX + secrets.token_urlsafe(32)


def is_api_key(text: str) -> bool:
    """Whether `text` has the form of an API key."""
    return _API_KEY.fullmatch(text) is not None


def display_prefix(api_key: str) -> str:
    """The part of a key that lists may show."""
    return api_key[:_PREFIX_SHOWN]


def examine(credential: str, keys: PublicKeys, now: float) -> Proof:
    """What a raw credential (API key or session token) claims, as far as can be judged
    without the store; revocation is judged there. Raises ProblemError `unauthenticated`."""
    if credential.startswith(API_KEY_PREFIX):
        if is_api_key(credential):
            return KeyProof(hash_key(credential))
        raise unauthenticated()
    try:
        return verify_token(credential, keys, revoked=(), now=now)
    except TokenRefused as refusal:
        raise unauthenticated() from refusal


def bearer(authorization: str | None) -> str | None:
    """The credential of an `Authorization` header, None without the header.

    Raises ProblemError `unauthenticated` for another scheme or an empty credential.
    """
    if authorization is None:
        return None
    scheme, _, credential = authorization.partition(" ")
    credential = credential.strip()
    if scheme.lower() != "bearer" or not credential:
        raise unauthenticated()
    return credential


def is_service(authorization: str | None, service_key: str) -> bool:
    """Whether the header carries the service credential. Compared in constant time."""
    scheme, _, credential = (authorization or "").partition(" ")
    given = credential.strip().encode("utf-8", "surrogateescape")
    return scheme.lower() == "bearer" and hmac.compare_digest(given, service_key.encode())


def require_scope(identity: Identity, scope: str) -> None:
    """Raises ProblemError `scope_missing`."""
    if scope not in identity.scopes:
        raise ProblemError("scope_missing", f"This credential lacks the scope `{scope}`.")


def check_scopes(identity: Identity, wanted: list[str] | None) -> tuple[str, ...]:
    """The scopes of a new key: those asked for, by default those of the caller; never more.

    Raises ProblemError `invalid_request` for an unknown scope, `scope_missing` for one that
    the caller lacks.
    """
    if wanted is None:
        return identity.scopes
    for scope in wanted:
        if scope not in SCOPES:
            raise ProblemError(
                "invalid_request", f"Scopes are {', '.join(SCOPES)}.", field="scopes"
            )
        require_scope(identity, scope)
    return tuple(scope for scope in SCOPES if scope in wanted)


def check_origin(method: str, origin: str | None, scheme: str, host: str | None) -> None:
    """For calls authenticated by cookie: one that changes something needs its own `Origin`
    (RFC 6454, section 6.2), so that no other site can make a browser send it.

    Raises ProblemError `origin_not_allowed`.
    """
    if method in SAFE_METHODS:
        return
    if origin is None or host is None or origin.lower() != f"{scheme}://{host}".lower():
        raise ProblemError("origin_not_allowed", "The Origin must be the host of this page.")
