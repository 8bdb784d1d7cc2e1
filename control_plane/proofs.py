"""When an engine is to be probed: once after it has come up, and again while nothing is decided.
Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from control_plane.continuation import Capability
from control_plane.health import Health

# Seconds from one undecided attempt to the next; the last of them from then on.
RETRY_AFTER_S: Final = (2.0, 10.0, 60.0)
# How long an attempt may take (seconds), the first one, which `/readyz` may be waiting for, and
# every other: an engine with a queue lets each question wait behind the answers before it.
PROBE_S: Final = (15.0, 180.0)
# Until a model that is not loaded is looked for again.
POSTPONE_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class Proof:
    """What is known of one engine and model. `since` is when the engine came up that was
    probed (`Health.since`): another time is another engine. `attempts` counts since then.
    `kept`: found by a process before this one, and as good until this one has found out."""

    since: float | None = None
    attempts: int = 0
    next_at: float = 0.0
    found: Capability | None = None
    kept: bool = False


def recalled(found: Capability) -> Proof:
    """What a process before this one has found out."""
    return Proof(found=found, kept=True)


def seen(proof: Proof, health: Health) -> Proof:
    """What is kept of a process before, at the engine's first check by this one: that it was
    away in between cannot be seen, but that it is."""
    if not proof.kept or proof.since is not None or health.checked_at is None:
        return proof
    return replace(proof, since=health.since) if health.healthy else Proof()


def due(proof: Proof, health: Health, now: float) -> bool:
    """Whether to probe now: it answers, and has not been proven since it came up."""
    if not health.healthy or health.failures or health.checked_at is None:
        return False
    proof = seen(proof, health)
    if proof.since != health.since:
        return True
    return (proof.found is None or proof.kept) and now >= proof.next_at


def patience(proof: Proof, health: Health) -> float:
    """How long the next attempt may take, in seconds."""
    return PROBE_S[proof.since == health.since and proof.attempts > 0]


def attempted(proof: Proof, health: Health, found: Capability | None, now: float) -> Proof:
    """After an attempt that was decided, or not (None)."""
    before = _of_now(proof, health)
    wait = RETRY_AFTER_S[min(before.attempts, len(RETRY_AFTER_S) - 1)]
    after = replace(before, attempts=before.attempts + 1, next_at=now + wait)
    return after if found is None else replace(after, found=found, kept=False)


def postponed(proof: Proof, health: Health, now: float) -> Proof:
    """After a look that found nothing to probe; no attempt."""
    return replace(_of_now(proof, health), next_at=now + POSTPONE_S)


def is_tried(proof: Proof, health: Health) -> bool:
    """Is something known, or has it been tried, of the engine as it is now?"""
    return health.since is not None and seen(proof, health).since == health.since


def known(proof: Proof, health: Health) -> Capability:
    """What may be relied on: nothing of an engine that has been away since."""
    proof = seen(proof, health)
    if proof.found is None or proof.since != health.since:
        return Capability()
    return proof.found


def _of_now(proof: Proof, health: Health) -> Proof:
    proof = seen(proof, health)
    return proof if proof.since == health.since else Proof(since=health.since)
