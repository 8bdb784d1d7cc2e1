"""What is signed here is what `contracts.tokens` accepts."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from contracts.tokens import TokenRefused, load_public_keys, verify_token
from control_plane.auth import Identity
from control_plane.signing import Signer, new_session
from tests.control_plane.harness import NOW, SESSION_KEY


def identity(expires_at: float | None = None) -> Identity:
    return Identity("u", "standard", ("generate",), "key", "key_1", expires_at)


def test_a_signed_session_is_verified_with_the_public_keys_alone() -> None:
    signer = Signer(SESSION_KEY)
    claims = new_session(identity(), 3600, NOW + 0.5)
    token = signer.sign(claims)
    assert verify_token(token, load_public_keys(signer.jwks), (), NOW) == claims
    assert (claims.iat, claims.exp) == (NOW, NOW + 3600)


def test_a_session_ends_no_later_than_its_key() -> None:
    assert new_session(identity(NOW + 5), 3600, NOW).exp == NOW + 5


def test_every_session_has_an_id_of_its_own() -> None:
    assert len({new_session(identity(), 60, NOW).jti for _ in range(50)}) == 50


def test_the_private_key_is_nowhere_to_be_seen() -> None:
    signer = Signer(SESSION_KEY)
    assert repr(signer) == f"Signer(kid={signer.kid!r})"
    assert "d" not in signer.jwks[0]


def test_the_key_before_is_believed_and_signs_nothing() -> None:
    fresh = Ed25519PrivateKey.generate()
    old, new = Signer(SESSION_KEY), Signer(fresh, [SESSION_KEY])
    claims = new_session(identity(), 3600, NOW)
    keys = load_public_keys(new.jwks)
    assert verify_token(old.sign(claims), keys, (), NOW) == claims
    assert verify_token(new.sign(claims), keys, (), NOW) == claims
    assert new.kid != old.kid
    assert [jwk["kid"] for jwk in new.jwks] == [new.kid, old.kid]
    with pytest.raises(TokenRefused, match="key"):
        verify_token(new.sign(claims), load_public_keys(old.jwks), (), NOW)


def test_secrets_for_other_purposes_come_of_the_key() -> None:
    signer = Signer(SESSION_KEY)
    assert signer.derive("a") == Signer(SESSION_KEY).derive("a")
    others = {signer.derive("b"), Signer(Ed25519PrivateKey.generate()).derive("a")}
    assert signer.derive("a") not in others
    assert len(signer.derive("a")) == 32
