"""One sentence: do people get their tokens evenly and soon, and if not, which hop is it?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from observability.boards import objectives as at
from observability.boards.model import Levels
from observability.boards.slo import HOP_BUDGETS, Hop

Level = Literal["good", "warn", "bad", "unknown"]
_WORST: tuple[Level, ...] = ("unknown", "good", "warn", "bad")
# An engine that has so much of what viewers' connections have is where it comes from.
_ENGINES_SHARE = 0.5


@dataclass(frozen=True, slots=True)
class Felt:
    """The newest figures, None where there are none: seconds, stalls in 1,000 tokens, shares
    of 1; `hops` by the names of HOP_BUDGETS."""

    ttft: float | None = None
    jitter: float | None = None
    stalls: float | None = None
    success: float | None = None
    engine_jitter: float | None = None
    engine_stalls: float | None = None
    hops: Mapping[str, float | None] | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the page says first."""

    level: Level
    text: str


def level(value: float | None, levels: Levels) -> Level:
    """Where a figure stands; where less is worse `bad` is below `warn`."""
    if value is None:
        return "unknown"
    if levels.bad >= levels.warn:
        return "bad" if value >= levels.bad else "warn" if value >= levels.warn else "good"
    return "bad" if value < levels.bad else "warn" if value < levels.warn else "good"


def judge(felt: Felt) -> Verdict:
    """Soon, evenly, to the end; then where it comes from."""
    found = {
        "soon": level(felt.ttft, at.TTFT),
        "evenly": max(
            (level(felt.jitter, at.JITTER), level(felt.stalls, at.STALLS)), key=_WORST.index
        ),
        "whole": level(felt.success, at.SUCCESS),
    }
    worst = max(found.values(), key=_WORST.index)
    if worst == "unknown":
        return Verdict("unknown", "No stream has run for five minutes: there is nothing to judge.")
    if worst == "good":
        return Verdict("good", f"People get their tokens soon and evenly{_figures(felt)}.")
    told = [_late(felt)] if found["soon"] in ("warn", "bad") else []
    told += [_uneven(felt)] if found["evenly"] in ("warn", "bad") else []
    told += [_broken(felt)] if found["whole"] in ("warn", "bad") else []
    return Verdict(worst, " ".join(told))


def seconds(value: float) -> str:
    """For people."""
    return f"{value:.1f} s" if value >= 1 else f"{value * 1000:.0f} ms"


def _figures(felt: Felt) -> str:
    parts = [f"first token after {seconds(felt.ttft)} (p95)"] if felt.ttft is not None else []
    parts += [f"jitter {seconds(felt.jitter)}"] if felt.jitter is not None else []
    return f": {', '.join(parts)}" if parts else ""


def _late(felt: Felt) -> str:
    said = f"The first token comes late: {seconds(felt.ttft or 0.0)} (p95)."
    return f"{said} {_hop(felt, HOP_BUDGETS) or 'No hop is beyond its budget: look at the queues.'}"


def _hop(felt: Felt, hops: Sequence[Hop]) -> str:
    """The one that is furthest beyond its budget, in a sentence; nothing where none is."""
    values = felt.hops or {}
    over = [
        (value / hop.budget.warn, hop.name, value, hop.budget.warn)
        for hop in hops
        if (value := values.get(hop.name)) is not None and value >= hop.budget.warn
    ]
    if not over:
        return ""
    _, name, value, budget = max(over)
    return f"The hop is {name} with {seconds(value)}, its budget is {seconds(budget)}."


def _uneven(felt: Felt) -> str:
    parts, engines = [], []
    if felt.jitter is not None and felt.jitter >= at.JITTER.warn:
        parts.append(f"p99 − p50 is {seconds(felt.jitter)}")
        # Far out a quantile is a guess within a wide bucket: too much is too much.
        least = min(at.JITTER.warn, _ENGINES_SHARE * felt.jitter)
        engines += [felt.engine_jitter >= least] if felt.engine_jitter is not None else []
    if felt.stalls is not None and felt.stalls >= at.STALLS.warn:
        parts.append(f"{felt.stalls:.1f} stalls in 1,000 tokens")
        least = _ENGINES_SHARE * felt.stalls
        engines += [felt.engine_stalls >= least] if felt.engine_stalls is not None else []
    said = f"Tokens come unevenly: {', '.join(parts)}."
    if not engines:
        return said
    if any(engines):
        return f"{said} The engine sends them so."
    ours = _hop(felt, [hop for hop in HOP_BUDGETS if hop.always])
    return f"{said} The engine sends them evenly. {ours or 'It arises on the way out.'}"


def _broken(felt: Felt) -> str:
    share = 100 * (1 - (felt.success if felt.success is not None else 1.0))
    return f"{share:.1f} % of streams fail: the board Brokers tells by which code."
