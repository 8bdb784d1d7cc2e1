"""The snapshot, its version, and conditional requests."""

from __future__ import annotations

from typing import Any

import pytest

from contracts.policy import KeyEntry, PolicySnapshot, TierLimits
from control_plane.grants import pacing_of, policy_limits
from control_plane.policy import KeptSnapshot, build_snapshot, etag, matches
from control_plane.roster import Roster, Rows
from inventory.settings import Settings
from tests.control_plane.harness import NOW, rulebook

ENTRY = KeyEntry(user_id="u", tier="standard", scopes=["generate"])


def snapshot(**changes: Any) -> PolicySnapshot:
    content: dict[str, Any] = {
        "keys": {"a": ENTRY, "b": ENTRY},
        "revoked": ["x", "y"],
        "public_keys": [],
        "models": rulebook().policy_models(0),
        "aliases": {},
        "tiers": {},
        "default_tier": None,
        "limits": policy_limits(Settings()),
        "pacing": pacing_of(Settings()),
        "now": NOW,
    }
    return build_snapshot(**(content | changes))


def test_time_and_order_do_not_change_the_version() -> None:
    one = snapshot()
    other = snapshot(now=NOW + 60, revoked=["y", "x"], keys={"b": ENTRY, "a": ENTRY})
    assert one.version == other.version
    assert (one.issued_at, other.issued_at) == (NOW, NOW + 60)


@pytest.mark.parametrize(
    "change",
    [
        {"keys": {"a": ENTRY}},
        {"revoked": ["x"]},
        {"public_keys": [{"kid": "1"}]},
        {"models": []},
        {"aliases": {"default": "small"}},
        {"tiers": {"free": TierLimits(max_tokens=1)}},
        {"default_tier": "free"},
        {"limits": policy_limits(Settings(max_tokens=1))},
        {"pacing": pacing_of(Settings(pacing="off"))},
    ],
)
def test_any_content_changes_the_version(change: dict[str, Any]) -> None:
    assert snapshot(**change).version != snapshot().version


@pytest.mark.parametrize("header", ['W/"v"', '"v"', '"a", W/"v"', "*", ' "v" ,"b"'])
def test_a_known_version_matches(header: str) -> None:
    assert matches(header, "v")


@pytest.mark.parametrize("header", [None, "", "v", '"w"', 'W/"w"'])
def test_another_version_does_not(header: str | None) -> None:
    assert not matches(header, "v")


def test_the_tag_matches_itself() -> None:
    assert matches(etag("v"), "v")


def roster(**expiries: float | None) -> Roster:
    made = Roster(streams=5)
    load(made, **expiries)
    return made


def load(roster: Roster, **expiries: float | None) -> None:
    keys = {
        name: (name, KeyEntry(user_id="u", tier="standard", scopes=[], expires_at=expires_at))
        for name, expires_at in expiries.items()
    }
    roster.load(Rows(users={}, keys=keys, revoked=frozenset()))


def kept(snapshots: KeptSnapshot, roster: Roster, now: float, **changes: Any) -> PolicySnapshot:
    rest: dict[str, Any] = {
        "public_keys": [],
        "models": rulebook().policy_models(0),
        "aliases": {},
        "tiers": {},
        "default_tier": None,
        "limits": policy_limits(Settings()),
        "pacing": pacing_of(Settings()),
    }
    return snapshots.get(roster, now, **(rest | changes))


def test_a_kept_snapshot_is_as_one_built_now() -> None:
    snapshots, users = KeptSnapshot(), roster(a=None, b=NOW + 10, c=NOW + 20)
    for now, keys in ((0.0, "abc"), (9.0, "abc"), (10.0, "ab"), (19.9, "ab"), (5.0, "abc")):
        found = kept(snapshots, users, NOW + now)
        assert found.issued_at == NOW + now
        assert len(found.key_hashes) == {"abc": 3, "ab": 2}[keys]
        assert found == kept(KeptSnapshot(), users, NOW + now)
    load(users, z=None)
    assert list(kept(snapshots, users, NOW).key_hashes) == ["z"]
    assert kept(snapshots, users, NOW, models=[]).models == []


def test_a_snapshot_is_built_once_while_nothing_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    snapshots, users = KeptSnapshot(), roster(a=None)
    first = kept(snapshots, users, NOW)
    monkeypatch.setattr("control_plane.policy.build_snapshot", None)
    assert kept(snapshots, users, NOW + 1000).version == first.version
