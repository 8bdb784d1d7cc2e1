"""The policy snapshot: all that a broker may decide by itself (CONTRACT, "policy").

Polled by every broker from `GET /internal/v1/policy` with an ETag. API keys appear
only as the SHA-256 of the key (keys carry 256 random bits, so a plain hash is enough).
"""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

from contracts.grants import EngineTarget

API_KEY_PREFIX = "ok_"
SESSION_AUDIENCE = "okome"
SESSION_COOKIE = "okome_session"
SCOPE_GENERATE = "generate"  # start jobs, and read, resume and cancel one's own
SCOPE_KEYS = "keys"  # make, list and revoke one's own API keys
SCOPES = (SCOPE_GENERATE, SCOPE_KEYS)
# What a model can besides answering in text: call tools, think aloud, see, embed.
CAPABILITIES = ("tools", "reasoning", "vision", "embeddings")


class KeyEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One API key. `expires_at` in Unix seconds; None: never."""

    user_id: str
    tier: str
    scopes: list[str]
    expires_at: float | None = None


class PolicyModel(msgspec.Struct, frozen=True, kw_only=True):
    """A model by its public name, with its engines in order of preference.

    `capabilities`: of CAPABILITIES, what all its engines can. `server_tools`: names of the
    policy's tools that a job with it may ask for. `max_tokens`: of one answer, None: as the
    limits say. `pacing`: its mode, None: the policy's.
    """

    id: str
    engines: list[EngineTarget]
    context: int
    created: int
    tools: bool = False
    tiers: list[str] | None = None
    capabilities: list[str] = []
    server_tools: list[str] = []
    max_tokens: int | None = None
    pacing: str | None = None


class PolicyLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Limits a broker applies when it grants alone."""

    max_tokens: int
    default_max_tokens: int
    deadline_s: float
    streams_per_user: int
    lease_ttl_s: float
    detach_grace_s: float


class TierLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Where a tier differs from the limits of all; None: it does not."""

    max_tokens: int | None = None
    streams: int | None = None


class PolicySnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """`version` is the ETag's content. `key_hashes`: SHA-256 hex -> entry; `public_keys`: JWK set
    of Ed25519 keys (RFC 8037) that sign session tokens; `revoked`: ids (`jti`) of dead tokens;
    `aliases`: other public names -> models; `tools`: the schemas of the policy's tools;
    `default_tier`: as which of the `tiers` those count that are not among them."""

    version: str
    issued_at: float
    key_hashes: dict[str, KeyEntry]
    revoked: list[str]
    public_keys: list[dict[str, Any]]
    models: list[PolicyModel]
    tools: list[dict[str, Any]]
    limits: PolicyLimits
    pacing: dict[str, Any]
    aliases: dict[str, str] = {}
    tiers: dict[str, TierLimits] = {}
    default_tier: str | None = None


class SessionClaims(msgspec.Struct, frozen=True, kw_only=True):
    """Claims of a signed session token (JWT, EdDSA; RFC 7519 names). Header carries `kid`."""

    sub: str
    tier: str
    scopes: list[str]
    jti: str
    iat: float
    exp: float
    aud: str = SESSION_AUDIENCE


def hash_key(api_key: str) -> str:
    """The form in which an API key is stored and compared."""
    return hashlib.sha256(api_key.encode()).hexdigest()
