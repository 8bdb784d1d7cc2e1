from __future__ import annotations

import asyncio
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from contracts.policy import KeyEntry, SessionClaims, hash_key
from contracts.problems import ProblemError
from control_plane.signing import Signer
from stream_broker.authn import Authenticator, credential_of, same_origin
from stream_broker.policy import PolicyHolder
from tests.stream_broker.building import API_KEY, NOW, USER, Clock, policy
from tests.stream_broker.parts import ScriptedControl

SIGNER = Signer(Ed25519PrivateKey.generate())
HOST = {"host": "okome.lan"}


def session(**changes: Any) -> str:
    members: dict[str, Any] = {"sub": USER, "tier": "free", "scopes": ["generate"], "jti": "j1"}
    times = {"iat": int(NOW), "exp": int(NOW) + 60}
    return SIGNER.sign(SessionClaims(**members | times | changes))


class Door:
    """An authenticator and the control plane behind it."""

    def __init__(self) -> None:
        self.control = ScriptedControl()
        self.control.snapshot = policy(public_keys=SIGNER.jwks, revoked=["dead"])
        self.clock, self.monotonic = Clock(), Clock(0.0)
        control: Any = self.control
        self.policy = PolicyHolder(control, self.monotonic, poll=2.0)
        self.authenticate = Authenticator(self.policy, self.clock)

    async def refusal(self, headers: dict[str, str], *, changes: bool = False) -> str:
        with pytest.raises(ProblemError) as refused:
            await self.authenticate(headers, changes=changes)
        return refused.value.code


@pytest.fixture
async def door() -> Door:
    door = Door()
    await door.policy.refresh()
    return door


def bearer(value: str) -> dict[str, str]:
    return {"authorization": f"Bearer {value}"}


def cookie(value: str) -> dict[str, str]:
    return {"cookie": f"okome_session={value}"}


async def test_a_key_is_its_user(door: Door) -> None:
    principal = await door.authenticate(bearer(API_KEY), changes=True)
    assert (principal.user_id, principal.tier, principal.scopes) == (USER, "free", ("generate",))
    assert API_KEY not in repr(principal)


async def test_a_session_is_its_user_by_header_and_by_cookie(door: Door) -> None:
    assert (await door.authenticate(bearer(session()))).user_id == USER
    assert (await door.authenticate(cookie(session()))).user_id == USER


async def test_without_a_credential_nobody_is_known(door: Door) -> None:
    polls = door.control.polls
    assert await door.refusal({}) == "unauthenticated"
    assert door.control.polls == polls


@pytest.mark.parametrize(
    "credential",
    [
        *("ok_unknown", "", "x.y.z", session(exp=int(NOW) - 60), session(jti="dead")),
        session(iat=int(NOW) + 60),
    ],
)
async def test_a_credential_that_does_not_count(door: Door, credential: str) -> None:
    assert await door.refusal(bearer(credential)) == "unauthenticated"


async def test_a_key_ends_when_it_says(door: Door) -> None:
    entry = KeyEntry(user_id=USER, tier="free", scopes=["generate"], expires_at=NOW + 10)
    door.control.snapshot = policy(version="2", key_hashes={hash_key(API_KEY): entry})
    await door.policy.refresh()
    assert await door.authenticate(bearer(API_KEY))
    door.clock.now = NOW + 10
    assert await door.refusal(bearer(API_KEY)) == "unauthenticated"


async def test_a_key_for_keys_reads_no_job(door: Door) -> None:
    entry = KeyEntry(user_id=USER, tier="free", scopes=["keys"])
    door.control.snapshot = policy(
        version="2", key_hashes={hash_key(API_KEY): entry}, public_keys=SIGNER.jwks
    )
    await door.policy.refresh()
    assert await door.refusal(bearer(API_KEY)) == "scope_missing"
    assert await door.refusal(bearer(session(scopes=["keys"]))) == "scope_missing"
    assert (await door.authenticate(bearer(API_KEY), scope=None)).scopes == ("keys",)


async def test_a_key_made_a_moment_ago_is_asked_for(door: Door) -> None:
    entry = KeyEntry(user_id="new", tier="free", scopes=["generate"])
    door.control.snapshot = policy(version="2", key_hashes={hash_key("ok_new"): entry})
    door.monotonic.now = 1.0
    assert (await door.authenticate(bearer("ok_new"))).user_id == "new"


async def test_many_unknown_credentials_share_one_question(door: Door) -> None:
    door.monotonic.now = 1.0
    polls = door.control.polls
    await asyncio.gather(*(door.refusal(bearer(f"ok_{n}")) for n in range(50)))
    assert door.control.polls == polls + 1


async def test_they_share_it_also_while_nobody_answers(door: Door) -> None:
    door.monotonic.now = 1.0
    door.control.away = True
    polls = door.control.polls
    await asyncio.gather(*(door.refusal(bearer(f"ok_{n}")) for n in range(50)))
    assert door.control.polls == polls + 1


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        ("https://okome.lan", True),
        ("http://okome.lan", True),
        ("https://okome.lan:8443", False),
        ("https://evil.example", False),
        ("null", False),
        ("", False),
        ("http://[", False),
    ],
)
async def test_a_cookie_changes_things_from_its_own_page_only(
    door: Door, origin: str, allowed: bool
) -> None:
    headers = cookie(session()) | HOST | {"origin": origin}
    assert same_origin(headers) is allowed
    if allowed:
        assert await door.authenticate(headers, changes=True)
    else:
        assert await door.refusal(headers, changes=True) == "origin_not_allowed"
    assert await door.authenticate(headers)


def test_without_a_host_there_is_no_own_page() -> None:
    assert not same_origin({})
    assert not same_origin({"origin": "", "host": ""})


@pytest.mark.parametrize(
    ("headers", "value", "by_cookie"),
    [
        ({"authorization": "Bearer a"}, "a", False),
        ({"authorization": "bearer  a "}, "a", False),
        ({"authorization": "Bearer a", "cookie": "okome_session=b"}, "a", False),
        ({"authorization": "Basic a", "cookie": "okome_session=b"}, "b", True),
        ({"cookie": "x=1; okome_session=b; y=2"}, "b", True),
        ({"cookie": 'a[0]="{x}"; okome_session=b'}, "b", True),
        ({"cookie": "ünï=1; okome_session=b"}, "b", True),
    ],
)
def test_where_a_credential_stands(headers: dict[str, str], value: str, by_cookie: bool) -> None:
    found = credential_of(headers)
    assert found is not None
    assert (found.value, found.by_cookie) == (value, by_cookie)


@pytest.mark.parametrize(
    "headers",
    [{}, {"authorization": "Bearer "}, {"authorization": "Bearer"}, {"cookie": "okome_session="}],
)
def test_where_none_stands(headers: dict[str, str]) -> None:
    assert credential_of(headers) is None
