"""Signs session tokens; `contracts/tokens.py` is the other half."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any

import jwt
import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from contracts.policy import SessionClaims
from contracts.tokens import ALGORITHM, load_public_keys, public_jwk
from control_plane.auth import Identity


class Signer:
    """Holds the private key. Its repr shows the public `kid` only.

    `others` sign nothing here: one that will, which everybody must know before, and one
    that did, until its last token has expired.
    """

    def __init__(self, key: Ed25519PrivateKey, others: Sequence[Ed25519PrivateKey] = ()) -> None:
        self._key = key
        self.jwks: list[dict[str, Any]] = [public_jwk(k.public_key()) for k in (key, *others)]
        self.public_keys = load_public_keys(self.jwks)
        self.kid: str = self.jwks[0]["kid"]

    def __repr__(self) -> str:
        return f"Signer(kid={self.kid!r})"

    def sign(self, claims: SessionClaims) -> str:
        """The claims as a compact JWT with our `kid`."""
        payload = msgspec.to_builtins(claims)
        return jwt.encode(payload, self._key, algorithm=ALGORITHM, headers={"kid": self.kid})

    def derive(self, purpose: str) -> bytes:
        """32 secret bytes for another purpose; they change with the key that signs."""
        derivation = HKDF(SHA256(), 32, salt=None, info=f"okome {purpose}".encode())
        return derivation.derive(self._key.private_bytes_raw())


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
