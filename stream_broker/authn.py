"""Who is asking: from an API key or a signed session, by the policy snapshot alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from starlette.requests import cookie_parser

from contracts.policy import API_KEY_PREFIX, SCOPE_GENERATE, SESSION_COOKIE, hash_key
from contracts.problems import ProblemError
from contracts.tokens import TokenRefused, verify_token
from stream_broker.policy import PolicyHolder

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


@dataclass(frozen=True, slots=True)
class Principal:
    """An authenticated caller. `credential` is passed on to the control plane only."""

    user_id: str
    tier: str
    scopes: tuple[str, ...]
    credential: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Credential:
    """What a request carries, and whether a browser attached it by itself."""

    value: str = field(repr=False)
    by_cookie: bool


def credential_of(headers: Mapping[str, str]) -> Credential | None:
    """The bearer value, else the session cookie, else None (header names in lower case)."""
    scheme, _, value = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and value.strip():
        return Credential(value.strip(), by_cookie=False)
    # Not http.cookies: that drops all cookies of a host for one that it cannot read.
    cookie = cookie_parser(headers.get("cookie", "")).get(SESSION_COOKIE)
    return Credential(cookie, by_cookie=True) if cookie else None


def same_origin(headers: Mapping[str, str]) -> bool:
    """Is `Origin` there and equal to the host that was asked?"""
    try:
        origin = urlsplit(headers.get("origin", "")).netloc
    except ValueError:
        return False
    return origin == headers.get("host", "") != ""


def identify(credential: str, policy: PolicyHolder, now: float) -> Principal | None:
    """The caller that `credential` stands for at Unix time `now`, or None."""
    if credential.startswith(API_KEY_PREFIX):
        entry = policy.snapshot.key_hashes.get(hash_key(credential))
        if entry is None or (entry.expires_at is not None and entry.expires_at <= now):
            return None
        return Principal(entry.user_id, entry.tier, tuple(entry.scopes), credential)
    try:
        claims = verify_token(credential, policy.public_keys, policy.revoked, now)
    except TokenRefused:
        return None
    return Principal(claims.sub, claims.tier, tuple(claims.scopes), credential)


class Authenticator:
    """Identifies requests. A credential the snapshot does not know is asked for once anew."""

    def __init__(self, policy: PolicyHolder, clock: Callable[[], float]) -> None:
        self._policy = policy
        self._clock = clock

    async def __call__(
        self,
        headers: Mapping[str, str],
        *,
        changes: bool = False,
        scope: str | None = SCOPE_GENERATE,
    ) -> Principal:
        """The caller. `changes`: the call alters something, so a cookie needs an Origin;
        `scope`: what its credential must allow.

        Raises ProblemError `unauthenticated`, `origin_not_allowed` or `scope_missing`.
        """
        credential = credential_of(headers)
        if credential is None:
            raise ProblemError("unauthenticated", "Send an API key or sign in")
        if credential.by_cookie and changes and not same_origin(headers):
            raise ProblemError("origin_not_allowed", "Origin must be the host that is asked")
        principal = await self.identify(credential.value)
        if principal is None:
            raise ProblemError("unauthenticated", "The credential is not known or has expired")
        if scope is not None and scope not in principal.scopes:
            raise ProblemError("scope_missing", f"The scope {scope} is needed")
        return principal

    async def identify(self, credential: str) -> Principal | None:
        """The caller, after one more poll: the key may have been made a moment ago."""
        principal = identify(credential, self._policy, self._clock())
        if principal is None:
            await self._policy.refresh_once()
            principal = identify(credential, self._policy, self._clock())
        return principal
