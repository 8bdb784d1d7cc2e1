"""Builds the policy snapshot, and answers conditional requests for it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from contracts.policy import KeyEntry, PolicyLimits, PolicyModel, PolicySnapshot, TierLimits
from control_plane.roster import Roster


def build_snapshot(
    *,
    keys: Mapping[str, KeyEntry],
    revoked: Sequence[str],
    public_keys: Sequence[dict[str, Any]],
    models: Sequence[PolicyModel],
    aliases: Mapping[str, str],
    tiers: Mapping[str, TierLimits],
    default_tier: str | None,
    limits: PolicyLimits,
    pacing: dict[str, Any],
    now: float,
    tools: Sequence[dict[str, Any]] = (),
) -> PolicySnapshot:
    """The snapshot as of `now` (Unix seconds). `version` names the content: two snapshots
    that differ in `issued_at` only have the same."""
    content = PolicySnapshot(
        version="",
        issued_at=0.0,
        key_hashes=dict(keys),
        revoked=sorted(revoked),
        public_keys=list(public_keys),
        models=list(models),
        aliases=dict(aliases),
        tiers=dict(tiers),
        default_tier=default_tier,
        tools=list(tools),
        limits=limits,
        pacing=pacing,
    )
    canonical = msgspec.json.encode(content, order="deterministic")
    version = hashlib.sha256(canonical).hexdigest()[:32]
    return msgspec.structs.replace(content, version=version, issued_at=now)


class KeptSnapshot:
    """The last snapshot, built anew only when something in it may have changed: brokers ask
    all the time, and the keys of all users are in it."""

    def __init__(self) -> None:
        self._snapshot: PolicySnapshot | None = None
        self._made_of: object = None
        self._from = self._until = 0.0

    def get(self, roster: Roster, now: float, **rest: Any) -> PolicySnapshot:
        """As of `now`; `rest` is what `build_snapshot` wants to know besides."""
        made_of = (roster.version, rest)
        snapshot = self._snapshot
        if snapshot is None or made_of != self._made_of or not self._from <= now < self._until:
            keys, revoked = roster.key_entries(now), sorted(roster.revoked)
            snapshot = build_snapshot(keys=keys, revoked=revoked, now=now, **rest)
            self._snapshot, self._made_of = snapshot, made_of
            self._from, self._until = now, roster.next_expiry(now)
        return msgspec.structs.replace(snapshot, issued_at=now)


def etag(version: str) -> str:
    """The entity tag of a snapshot. Weak: `issued_at` is outside the version."""
    return f'W/"{version}"'


def matches(if_none_match: str | None, version: str) -> bool:
    """Whether `If-None-Match` names this version (weak comparison, RFC 9110, 13.1.2)."""
    if if_none_match is None:
        return False
    tags = [tag.strip().removeprefix("W/") for tag in if_none_match.split(",")]
    return "*" in tags or f'"{version}"' in tags
