"""What is signed here is what `contracts.tokens` accepts."""

from __future__ import annotations

from contracts.tokens import load_public_keys, verify_token
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
