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
class Proven:
    """What was found out, and of whom (`identity_of`; None: it did not tell)."""

    found: Capability
    identity: str | None = None


@dataclass(frozen=True, slots=True)
class Proof:
    """What is known of one engine and model. `proven`: the last that was found out; it may be
    relied on while `stands` is when the engine came up (`Health.since`): another time may be
    another engine. `since`, `attempts`, `next_at` and `decided` are of the probes since it came up.
    `recalled`: found by a process before this one, which has not seen the engine yet."""

    proven: Proven | None = None
    stands: float | None = None
    since: float | None = None
    attempts: int = 0
    next_at: float = 0.0
    decided: bool = False
    recalled: bool = False


def recalled(proven: Proven) -> Proof:
    """What a process before this one has found out."""
    return Proof(proven, recalled=True)


def seen(proof: Proof, health: Health) -> Proof:
    """What is kept of a process before, at the engine's first check by this one: that it was
    away in between cannot be seen, but that it is."""
    if not proof.recalled or health.checked_at is None:
        return proof
    return replace(proof, recalled=False, stands=health.since if health.healthy else None)


def due(proof: Proof, health: Health, now: float) -> bool:
    """Whether to probe now: it answers, and has not been proven since it came up."""
    if not health.healthy or health.failures or health.checked_at is None:
        return False
    if proof.since != health.since:
        return True
    return not proof.decided and now >= proof.next_at


def patience(proof: Proof, health: Health) -> float:
    """How long the next attempt may take, in seconds."""
    return PROBE_S[proof.since == health.since and proof.attempts > 0]


def recognized(proof: Proof, health: Health, identity: str | None) -> Proof:
    """Once it has come up and told who it is: of the same engine as before the same is known,
    until it has been probed; of another one nothing. One that tells nothing may be another. No
    attempt."""
    proof = seen(proof, health)
    if proof.proven is None or identity is None or proof.proven.identity is None:
        return proof
    if proof.proven.identity == identity:
        return replace(proof, stands=health.since)
    return replace(proof, proven=None)


def attempted(proof: Proof, health: Health, proven: Proven | None, now: float) -> Proof:
    """After an attempt that was decided, or not (None)."""
    before = _of_now(proof, health)
    wait = RETRY_AFTER_S[min(before.attempts, len(RETRY_AFTER_S) - 1)]
    after = replace(before, attempts=before.attempts + 1, next_at=now + wait)
    if proven is None:
        return after
    return replace(after, proven=proven, stands=health.since, decided=True)


def postponed(proof: Proof, health: Health, now: float) -> Proof:
    """After a look that found nothing to probe; no attempt."""
    return replace(_of_now(proof, health), next_at=now + POSTPONE_S)


def is_tried(proof: Proof, health: Health) -> bool:
    """Is something known, or has it been tried, of the engine as it is now?"""
    if health.since is None:
        return False
    proof = seen(proof, health)
    stands = proof.proven is not None and proof.stands == health.since
    return stands or proof.since == health.since


def known(proof: Proof, health: Health) -> Capability:
    """What may be relied on: nothing of an engine that has been away and is not recognized."""
    proof = seen(proof, health)
    if proof.proven is None or proof.stands != health.since:
        return Capability()
    return proof.proven.found


def _of_now(proof: Proof, health: Health) -> Proof:
    proof = seen(proof, health)
    if proof.since == health.since:
        return proof
    return replace(proof, since=health.since, attempts=0, next_at=0.0, decided=False)
