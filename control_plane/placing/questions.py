"""What is asked of the placing, and what it answers. Pure."""

from __future__ import annotations

from collections import Counter

import msgspec

from contracts.grants import EngineTarget, Told, Turn
from contracts.problems import ProblemError
from control_plane.holdings import OpenGrant
from control_plane.placing.placement import Job
from control_plane.policy_document import OverloadRules


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """A job that is to run. `grant` is its own, whose lease may not have begun."""

    grant: OpenGrant
    model: str
    tier: str
    job: Job
    max_tokens: int


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """What becomes of it. With a `turn` it waits, and `targets` are those that it may get.
    `smaller`: the model is not the one that was asked for."""

    model: str
    targets: tuple[EngineTarget, ...]
    max_tokens: int
    notices: tuple[Told, ...] = ()
    turn: Turn | None = None
    smaller: bool = False


class Counts:
    """What was decided, to be read by metrics: placements by (engine, reason), jobs that were
    not simply placed by (model, step)."""

    def __init__(self) -> None:
        self.placements: Counter[tuple[str, str]] = Counter()
        self.steps: Counter[tuple[str, str]] = Counter()


def overloaded(model: str | None, rules: OverloadRules) -> ProblemError:
    """Nothing is left but to come back."""
    named = "The model" if model is None else model
    return ProblemError(
        "overloaded",
        f"{named} has more to do than its engines can; come back a little later.",
        retry_after=rules.retry_after_s,
    )
