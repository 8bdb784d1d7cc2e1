"""Verification of session tokens: JWT (RFC 7519) signed with Ed25519 (RFC 8037).

Pure: keys, revoked ids and the time are arguments. The control plane signs
(`control_plane/signing.py`); it and every broker verify with this module.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Container, Iterable, Mapping
from typing import Any, Final

import jwt
import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from contracts.policy import SESSION_AUDIENCE, SessionClaims

ALGORITHM: Final = "EdDSA"
CLOCK_TOLERANCE_S: Final = 30.0
TOKEN_MAX: Final = 4096  # characters; ours have about 400

PublicKeys = Mapping[str, Ed25519PublicKey]


class TokenRefused(Exception):  # a refusal is an answer, not a fault
    """The token proves nothing. `reason` is a word for logs and metrics, never for the client:
    malformed, algorithm, key, signature, audience, claims, expired, not_yet, revoked."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def public_jwk(key: Ed25519PublicKey) -> dict[str, Any]:
    """The key as a JWK (RFC 8037, section 2); `kid` is its thumbprint."""
    x = _base64url(key.public_bytes_raw())
    return {
        "kty": "OKP",
        "crv": "Ed25519",
        "x": x,
        "kid": thumbprint(x),
        "use": "sig",
        "alg": ALGORITHM,
    }


def thumbprint(x: str) -> str:
    """RFC 7638 thumbprint (SHA-256) of the Ed25519 JWK whose `x` is given."""
    members = {"crv": "Ed25519", "kty": "OKP", "x": x}
    canonical = json.dumps(members, sort_keys=True, separators=(",", ":"))
    return _base64url(hashlib.sha256(canonical.encode()).digest())


def load_public_keys(jwks: Iterable[Mapping[str, Any]]) -> dict[str, Ed25519PublicKey]:
    """Keys by `kid`, made once per policy snapshot. Raises ValueError for a key that is not
    an Ed25519 JWK with a `kid`."""
    keys = {}
    for jwk in jwks:
        try:
            if (jwk["kty"], jwk["crv"]) != ("OKP", "Ed25519"):
                raise ValueError(f"not an Ed25519 key: {jwk['kty']} {jwk['crv']}")
            raw = base64.urlsafe_b64decode(jwk["x"] + "=" * (-len(jwk["x"]) % 4))
            keys[str(jwk["kid"])] = Ed25519PublicKey.from_public_bytes(raw)
        except (KeyError, TypeError, binascii.Error) as error:
            raise ValueError(f"not an Ed25519 JWK: {error!r}") from error
    return keys


def verify_token(
    token: str, keys: PublicKeys, revoked: Container[str], now: float
) -> SessionClaims:
    """The claims of a valid token; `now` in Unix seconds, clocks may differ by 30 s.

    Raises TokenRefused. Only `EdDSA` with a `kid` out of `keys` is accepted, whatever
    else the header says.
    """
    if len(token) > TOKEN_MAX:
        raise TokenRefused("malformed")
    claims = _decode(token, _key_for(token, keys))
    if claims.exp + CLOCK_TOLERANCE_S <= now:
        raise TokenRefused("expired")
    if claims.iat - CLOCK_TOLERANCE_S > now:
        raise TokenRefused("not_yet")
    if claims.jti in revoked:
        raise TokenRefused("revoked")
    return claims


def _key_for(token: str, keys: PublicKeys) -> Ed25519PublicKey:
    try:
        header = jwt.get_unverified_header(token)
    except jwt.PyJWTError as error:
        raise TokenRefused("malformed") from error
    if header.get("alg") != ALGORITHM:
        raise TokenRefused("algorithm")
    key = keys.get(header.get("kid", ""))
    if key is None:
        raise TokenRefused("key")
    return key


def _decode(token: str, key: Ed25519PublicKey) -> SessionClaims:
    """Signature, audience and shape; times are ours to judge, PyJWT would read the clock."""
    times_are_ours = {"verify_exp": False, "verify_iat": False, "verify_nbf": False}
    try:
        payload = jwt.decode(
            token,
            key,
            algorithms=[ALGORITHM],
            audience=SESSION_AUDIENCE,
            options=times_are_ours,  # type: ignore[arg-type]  # a TypedDict of PyJWT's own
        )
        return msgspec.convert(payload, SessionClaims)
    except jwt.InvalidSignatureError as error:
        raise TokenRefused("signature") from error
    except (jwt.InvalidAudienceError, jwt.MissingRequiredClaimError) as error:
        raise TokenRefused("audience") from error
    except jwt.DecodeError as error:
        raise TokenRefused("malformed") from error
    except (jwt.PyJWTError, msgspec.ValidationError) as error:
        raise TokenRefused("claims") from error


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
