"""What an OpenID issuer says, and what of it is believed."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from control_plane.oidc import (
    START_TTL_S,
    Metadata,
    OidcRefused,
    Start,
    authorization_url,
    code_of,
    new_start,
    seal,
    unseal,
    verify_id_token,
)

NOW = 1_800_000_000.0
ISSUER = "https://id.test"
SEAL = b"k" * 32
RSA = rsa.generate_private_key(65_537, 2048)
EC = ec.generate_private_key(ec.SECP256R1())
ED = ed25519.Ed25519PrivateKey.generate()
CLAIMS: dict[str, Any] = {
    "iss": ISSUER,
    "aud": "okome",
    "sub": "1234",
    "nonce": "n",
    "iat": int(NOW),
    "exp": int(NOW) + 300,
    "preferred_username": "Ada",
}


def jwk(key: Any, kid: str, **more: str) -> dict[str, Any]:
    algorithms = {rsa.RSAPrivateKey: RSAAlgorithm, ec.EllipticCurvePrivateKey: ECAlgorithm}
    kind = next((a for k, a in algorithms.items() if isinstance(key, k)), OKPAlgorithm)
    return json.loads(kind.to_jwk(key.public_key())) | {"kid": kid} | more


JWKS = [jwk(RSA, "rsa"), jwk(EC, "ec", use="sig"), jwk(ED, "ed")]


def signed(
    key: Any = RSA, algorithm: str = "RS256", kid: str | None = "rsa", **changes: Any
) -> str:
    claims = {name: value for name, value in (CLAIMS | changes).items() if value is not ...}
    return jwt.encode(claims, key, algorithm=algorithm, headers={"kid": kid} if kid else None)


def verify(token: str, now: float = NOW, jwks: list[dict[str, Any]] | None = None) -> Any:
    return verify_id_token(
        token,
        JWKS if jwks is None else jwks,
        issuer=ISSUER,
        client_id="okome",
        nonce="n",
        now=now,
    )


@pytest.mark.parametrize(
    "token", [signed(), signed(EC, "ES256", "ec"), signed(ED, "EdDSA", "ed"), signed(aud=["okome"])]
)
def test_a_good_token_says_who(token: str) -> None:
    subject = verify(token)
    assert (subject.key, subject.wish) == (f"{ISSUER} 1234", "Ada")


def test_who_has_no_name_is_called_by_mail_or_subject() -> None:
    assert verify(signed(preferred_username=..., email="a@b")).wish == "a@b"
    assert verify(signed(preferred_username=...)).wish == "1234"


def test_one_key_needs_no_name() -> None:
    assert verify(signed(kid=None), jwks=JWKS[:1]).sub == "1234"


@pytest.mark.parametrize(
    ("token", "reason"),
    [
        ("", "malformed"),
        (signed(key=None, algorithm="none"), "algorithm"),
        (signed("x" * 64, "HS256"), "algorithm"),
        (signed(RSA, "RS512"), "algorithm"),
        (signed(kid="other"), "key"),
        (signed(kid=None), "key"),
        (signed(RSA, "RS256", "ec"), "key"),
        (signed(rsa.generate_private_key(65_537, 2048)), "signature"),
        (signed(aud="other"), "claims"),
        (signed(aud=...), "claims"),
        (signed(iss="https://evil.test"), "claims"),
        (signed(iss=...), "claims"),
        (signed(sub=...), "claims"),
        (signed(sub=5), "claims"),
        (signed(nonce=...), "claims"),
        (signed(exp="soon"), "claims"),
        (signed(nonce="other"), "nonce"),
        (signed(sub=""), "sub"),
        (signed(sub="a\u0000"), "sub"),
        (signed(sub="x" * 256), "sub"),
        (signed(aud=["okome", "other"]), "azp"),
        (signed(aud=["okome", "other"], azp="other"), "azp"),
        (signed(azp="other"), "azp"),
    ],
)  # fmt: skip
def test_what_proves_nothing_is_refused(token: str, reason: str) -> None:
    with pytest.raises(OidcRefused) as refused:
        verify(token)
    assert refused.value.reason == reason


@pytest.mark.parametrize(("now", "good"), [(-31, False), (-30, True), (329, True), (330, False)])
def test_clocks_may_differ_by_thirty_seconds(now: float, good: bool) -> None:
    if good:
        verify(signed(), NOW + now)
    else:
        with pytest.raises(OidcRefused, match="expired"):
            verify(signed(), NOW + now)


def test_a_key_that_encrypts_signs_nothing() -> None:
    with pytest.raises(OidcRefused, match="key"):
        verify(signed(), jwks=[jwk(RSA, "rsa", use="enc")])


@pytest.mark.parametrize("key", [{}, {"kid": "rsa"}, {"kid": "rsa", "kty": "RSA", "n": 5}])
def test_a_broken_key_is_no_key(key: dict[str, Any]) -> None:
    with pytest.raises(OidcRefused, match="key"):
        verify(signed(), jwks=[key])


METADATA = Metadata(
    issuer=ISSUER,
    authorization_endpoint=f"{ISSUER}/authorize?tenant=1",
    token_endpoint=f"{ISSUER}/token",
    jwks_uri=f"{ISSUER}/jwks",
)


def test_the_issuer_is_asked_with_a_challenge_not_with_the_secret_of_it() -> None:
    start = new_start(NOW)
    url = urlsplit(authorization_url(METADATA, "okome", "http://h/auth/oidc/callback", start))
    query = {name: value for name, (value,) in parse_qs(url.query).items()}
    digest = hashlib.sha256(start.verifier.encode()).digest()
    assert query["tenant"] == "1"
    assert query["code_challenge"] == base64.urlsafe_b64encode(digest).decode().rstrip("=")
    assert (query["code_challenge_method"], query["response_type"]) == ("S256", "code")
    assert (query["state"], query["nonce"]) == (start.state, start.nonce)
    assert start.verifier not in url.query
    assert len({start.state, start.nonce, start.verifier, new_start(NOW).state}) == 4


def test_the_browser_keeps_the_start_and_cannot_read_it() -> None:
    start = new_start(NOW)
    cookie = seal(start, SEAL)
    assert unseal(cookie, SEAL, NOW + START_TTL_S - 1) == start
    assert start.verifier.encode() not in base64.urlsafe_b64decode(cookie)
    for wrong, key, now in (
        (cookie, SEAL, NOW + START_TTL_S),
        (cookie, b"x" * 32, NOW),
        (cookie[:-4] + "AAAA", SEAL, NOW),
        ("", SEAL, NOW),
        ("é", SEAL, NOW),
        (None, SEAL, NOW),
    ):
        with pytest.raises(OidcRefused):
            unseal(wrong, key, now)


START = Start(state="s", nonce="n", verifier="v", until=NOW)


def test_the_answer_has_a_code() -> None:
    assert code_of({"state": "s", "code": "c"}, START, ISSUER) == "c"
    assert code_of({"state": "s", "code": "c", "iss": ISSUER}, START, ISSUER) == "c"


@pytest.mark.parametrize(
    "query",
    [
        {},
        {"code": "c"},
        {"state": "other", "code": "c"},
        {"state": "s"},
        {"state": "s", "code": ""},
        {"state": "s", "error": "access_denied"},
        {"state": "s", "code": "c", "error": "x"},
        {"state": "s", "code": "c", "iss": "https://evil.test"},
    ],
)
def test_another_answer_is_refused(query: dict[str, str]) -> None:
    with pytest.raises(OidcRefused):
        code_of(query, START, ISSUER)
