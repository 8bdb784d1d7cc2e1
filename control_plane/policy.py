"""Builds the policy snapshot, and answers conditional requests for it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from contracts.policy import KeyEntry, PolicyLimits, PolicyModel, PolicySnapshot


def build_snapshot(
    *,
    keys: Mapping[str, KeyEntry],
    revoked: Sequence[str],
    public_keys: Sequence[dict[str, Any]],
    models: Sequence[PolicyModel],
    limits: PolicyLimits,
    pacing: dict[str, Any],
    now: float,
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
        tools=[],
        limits=limits,
        pacing=pacing,
    )
    canonical = msgspec.json.encode(content, order="deterministic")
    version = hashlib.sha256(canonical).hexdigest()[:32]
    return msgspec.structs.replace(content, version=version, issued_at=now)


def etag(version: str) -> str:
    """The entity tag of a snapshot. Weak: `issued_at` is outside the version."""
    return f'W/"{version}"'


def matches(if_none_match: str | None, version: str) -> bool:
    """Whether `If-None-Match` names this version (weak comparison, RFC 9110, 13.1.2)."""
    if if_none_match is None:
        return False
    tags = [tag.strip().removeprefix("W/") for tag in if_none_match.split(",")]
    return "*" in tags or f'"{version}"' in tags
