"""Signs session tokens; `contracts/tokens.py` is the other half."""

from __future__ import annotations

import secrets
from typing import Any

import jwt
import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from contracts.policy import SessionClaims
from contracts.tokens import ALGORITHM, load_public_keys, public_jwk
from control_plane.auth import Identity


class Signer:
    """Holds the private key. Its repr shows the public `kid` only."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self.jwks: list[dict[str, Any]] = [public_jwk(key.public_key())]
        self.public_keys = load_public_keys(self.jwks)
        self.kid: str = self.jwks[0]["kid"]

    def __repr__(self) -> str:
        return f"Signer(kid={self.kid!r})"

    def sign(self, claims: SessionClaims) -> str:
        """The claims as a compact JWT with our `kid`."""
        payload = msgspec.to_builtins(claims)
        return jwt.encode(payload, self._key, algorithm=ALGORITHM, headers={"kid": self.kid})


def new_session(identity: Identity, ttl_s: float, now: float) -> SessionClaims:
    """Claims of a fresh session of `identity`; it ends with the credential it was made from
    (times are whole Unix seconds)."""
    expires_at = now + ttl_s
    if identity.expires_at is not None:
        expires_at = min(expires_at, identity.expires_at)
    return SessionClaims(
        sub=identity.user_id,
        tier=identity.tier,
        scopes=list(identity.scopes),
        jti=secrets.token_urlsafe(16),
        iat=int(now),
        exp=int(expires_at),
    )
