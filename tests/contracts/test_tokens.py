"""Session tokens: what is accepted, and everything that is not."""

from __future__ import annotations

import base64
import hmac
import json
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from contracts.policy import SessionClaims
from contracts.tokens import (
    TOKEN_MAX,
    TokenRefused,
    load_public_keys,
    public_jwk,
    thumbprint,
    verify_token,
)

NOW = 1_800_000_000.0
KEY = Ed25519PrivateKey.generate()
JWK = public_jwk(KEY.public_key())
KEYS = load_public_keys([JWK])
CLAIMS: dict[str, Any] = {
    "sub": "local",
    "tier": "standard",
    "scopes": ["generate"],
    "jti": "one",
    "iat": int(NOW),
    "exp": int(NOW) + 600,
    "aud": "okome",
}


def signed(key: Any = KEY, algorithm: str = "EdDSA", kid: Any = JWK["kid"], **changes: Any) -> str:
    claims = {name: value for name, value in (CLAIMS | changes).items() if value is not ...}
    return jwt.encode(claims, key, algorithm=algorithm, headers={"kid": kid})


def with_header(header: dict[str, Any]) -> str:
    """A token whose signature is right for a header of our choice."""
    encoded = [
        base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=")
        for part in (header, CLAIMS)
    ]
    signature = base64.urlsafe_b64encode(KEY.sign(b".".join(encoded))).rstrip(b"=")
    return b".".join([*encoded, signature]).decode()


def hmac_with_public_key() -> str:
    """What a verifier that believes the header would check with the public key as a secret."""
    pem = KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    header = {"alg": "HS256", "typ": "JWT", "kid": JWK["kid"]}
    encoded = [
        base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=")
        for part in (header, CLAIMS)
    ]
    digest = hmac.digest(pem, b".".join(encoded), "sha256")
    return b".".join([*encoded, base64.urlsafe_b64encode(digest).rstrip(b"=")]).decode()


def refusal(token: str, now: float = NOW, revoked: tuple[str, ...] = ()) -> str:
    with pytest.raises(TokenRefused) as caught:
        verify_token(token, KEYS, revoked, now)
    return caught.value.reason


def test_a_valid_token_gives_its_claims() -> None:
    claims = verify_token(signed(), KEYS, revoked={"another"}, now=NOW)
    assert claims == SessionClaims(**CLAIMS)


def test_the_thumbprint_is_that_of_rfc_8037() -> None:
    # RFC 8037, appendix A.3
    x = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"
    assert thumbprint(x) == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"


@pytest.mark.parametrize(
    ("token", "reason"),
    [
        ("", "malformed"),
        ("a.b", "malformed"),
        ("é.é.é", "malformed"),
        ("x" * (TOKEN_MAX + 1), "malformed"),
        (signed(key=None, algorithm="none"), "algorithm"),
        (signed(key=JWK["x"], algorithm="HS256"), "algorithm"),
        (hmac_with_public_key(), "algorithm"),
        (with_header({"alg": "none", "kid": JWK["kid"]}), "algorithm"),
        (with_header({"alg": "eddsa", "kid": JWK["kid"]}), "algorithm"),
        (with_header({"kid": JWK["kid"]}), "algorithm"),
        (signed(aud=["elsewhere"]), "audience"),
        (with_header({"alg": "ES256", "kid": JWK["kid"]}), "algorithm"),
        (with_header({"alg": "EdDSA"}), "key"),
        (with_header({"alg": "EdDSA", "kid": 7}), "malformed"),
        (signed(kid="unknown"), "key"),
        (signed(key=Ed25519PrivateKey.generate()), "signature"),
        (signed(aud="elsewhere"), "audience"),
        (signed(aud=...), "audience"),
        (signed(jti=...), "claims"),
        (signed(scopes="generate"), "claims"),
        (signed(exp="soon"), "claims"),
        (signed(exp=...), "claims"),
    ],
)  # fmt: skip
def test_what_proves_nothing_is_refused(token: str, reason: str) -> None:
    assert refusal(token) == reason


def test_a_key_in_the_header_is_not_believed() -> None:
    other = Ed25519PrivateKey.generate()
    header = {"kid": JWK["kid"], "jwk": public_jwk(other.public_key())}
    token = jwt.encode(CLAIMS, other, algorithm="EdDSA", headers=header)
    assert refusal(token) == "signature"


@given(st.data())
def test_a_tampered_token_is_refused(data: st.DataObject) -> None:
    token = signed()
    at = data.draw(st.integers(0, len(token) - 1))
    char = data.draw(st.sampled_from("AZaz09-_."))
    changed = token[:at] + char + token[at + 1 :]
    header, _, rest = changed.partition(".")
    payload, _, signature = rest.partition(".")
    # The last character of a part holds bits that base64 does not use: same bytes, same token.
    same = [_bytes(part) for part in (header, payload, signature)] == [
        _bytes(part) for part in token.split(".")
    ]
    if not same:
        refusal(changed)


def _bytes(part: str) -> bytes | None:
    try:
        return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
    except ValueError:
        return None


@pytest.mark.parametrize(
    ("now", "reason"),
    [(NOW - 31, "not_yet"), (NOW - 30, None), (NOW + 629, None), (NOW + 630, "expired")],
)
def test_clocks_may_differ_by_thirty_seconds(now: float, reason: str | None) -> None:
    if reason is None:
        verify_token(signed(), KEYS, (), now)
    else:
        assert refusal(signed(), now=now) == reason


def test_a_revoked_token_is_refused() -> None:
    assert refusal(signed(), revoked=("one",)) == "revoked"


@pytest.mark.parametrize(
    "jwk",
    [
        {},
        {"kty": "RSA", "crv": "Ed25519", "x": JWK["x"], "kid": "k"},
        JWK | {"x": "short"},
        JWK | {"x": 5},
        {name: value for name, value in JWK.items() if name != "kid"},
    ],
)
def test_a_key_that_is_no_ed25519_key_is_refused(jwk: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"Ed25519|public key"):
        load_public_keys([jwk])
