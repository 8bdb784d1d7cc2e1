"""Which engine takes a job, and which follow it if that one fails. Pure.

In this order: what the model can, what fits its context, what is up, what has room; then
the conversation's own engine, then the one with the least to do.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from contracts.grants import EngineTarget
from contracts.problems import ProblemError
from control_plane.fleet.readings import Powers
from control_plane.fleet.seats import Condition
from control_plane.placing.affinity import score
from control_plane.placing.arbitration import Verdict

# A conversation leaves its engine when it has so many jobs more than twice the idlest one's.
_LEANING: Final = 4
_CANNOT: Final = {
    "tools": ("tools", "The model {model} cannot call tools."),
    "vision": ("messages", "The model {model} cannot see images."),
    "embeddings": ("model", "The model {model} makes no embeddings."),
}
# Nothing is said against their health, only against what they answered others.
_SUSPECT: Final = frozenset({"failing", "flapping", "absent"})
_DOWN: Final = "No engine with the model {model} is up."
_OUT: Final[dict[Condition, str]] = {
    "drained": "Every engine with the model {model} is being drained.",
    "silent": "No engine with the model {model} answers.",
}


class Job(msgspec.Struct, frozen=True):
    """What of a request decides where it runs. `needs`: of CAPABILITIES. `prompt_tokens` is
    an estimate, None where there is none to be had (of images)."""

    needs: tuple[str, ...] = ()
    prompt_tokens: int | None = 0
    affinity: str | None = None


class Candidate(msgspec.Struct, frozen=True):
    """An engine that has the model, as it is now. `used`: jobs that it has; `slots` None: it
    does not tell. `rank`: the lower the better."""

    target: EngineTarget
    url: str
    rank: int = 0
    condition: Condition = "up"
    verdict: Verdict | None = None
    powers: Powers = Powers()
    context: int | None = None
    used: int = 0
    slots: int | None = None
    cold: bool = False

    @property
    def has_room(self) -> bool:
        """May a job start there now?"""
        return self.verdict is None or self.verdict == "after"

    @property
    def load(self) -> float:
        """How much of it is taken, comparable with others of its rank."""
        return self.used / (self.slots or 16)


class Placed(msgspec.Struct, frozen=True):
    """The engines for a job, the first one to be asked first. `reason`: why that one; `warm`:
    an engine that would have been better, had it the model in memory; `trial`: the job tries
    an engine that has failed."""

    targets: tuple[EngineTarget, ...]
    reason: str
    warm: EngineTarget | None = None
    trial: bool = False


class Full(msgspec.Struct, frozen=True):
    """Every engine that is up has all that it can do. `may_wait`: one of them takes those
    that wait. `targets`: as for `Placed`."""

    targets: tuple[EngineTarget, ...]
    may_wait: bool


def place(
    model: str,
    job: Job,
    candidates: Sequence[Candidate],
    last_url: str | None = None,
    *,
    bounded: bool = True,
) -> Placed | Full:
    """Where `job` goes of the model's `candidates`, or that they are full.

    `last_url`: where its conversation was last. Without `bounded` engines that are full are
    only put behind those that are not, and queue by themselves. Raises ProblemError
    `invalid_request` (the model cannot do what is asked), `context_too_long`, `no_engine`.
    """
    usable = sorted(_up(model, _fitting(model, job, _able(model, job, candidates))), key=_order)
    first = _class(usable[0])
    if bounded and not any(c.has_room for c in usable):
        may_wait = any(c.verdict != "refuse" for c in usable)
        return Full(_all_of(usable, candidates), may_wait)
    # Those that nothing but their load tells apart.
    best = [c for c in usable if _class(c) == first] if len(usable) > 1 else usable
    chosen, reason = _choose(best, job.affinity, last_url)
    others = [c.target for c in usable if c is not chosen and c.condition != "trial"]
    others += [c.target for c in _doubtful(job, candidates) if c not in usable]
    if chosen.condition in _SUSPECT:
        reason = "last_resort"
    elif chosen.rank > min(c.rank for c in usable):
        reason = "fallback"
    targets = (chosen.target, *others)
    return Placed(targets, reason, _to_warm(chosen, usable), chosen.condition == "trial")


def _able(model: str, job: Job, candidates: Sequence[Candidate]) -> list[Candidate]:
    found = list(candidates)
    for need in job.needs:
        found = [c for c in found if need not in c.powers.unable]
        if not found and candidates:
            field, detail = _CANNOT[need]
            raise ProblemError("invalid_request", detail.format(model=model), field=field)
    return found


def _fitting(model: str, job: Job, candidates: list[Candidate]) -> list[Candidate]:
    tokens = job.prompt_tokens
    if tokens is None:
        return candidates
    found = [c for c in candidates if c.context is None or tokens + 1 <= c.context]
    if candidates and not found:
        most = max(c.context or 0 for c in candidates)
        raise ProblemError(
            "context_too_long",
            f"The prompt has about {tokens} tokens; {model} takes {most} with its answer.",
        )
    return found


def _up(model: str, candidates: list[Candidate]) -> list[Candidate]:
    """Those that may be asked. Where there is no other, also those that are only suspected:
    an engine's own failure says more than a refusal here, and a wrong suspicion costs nobody
    an answer (what proxies call a panic threshold)."""
    found = [c for c in candidates if c.condition in ("up", "trial")]
    found = found or [c for c in candidates if c.condition in _SUSPECT]
    if not found:
        why = {c.condition for c in candidates}
        detail = _OUT.get(why.pop(), _DOWN) if len(why) == 1 else _DOWN
        raise ProblemError("no_engine", detail.format(model=model))
    return found


def _doubtful(job: Job, candidates: Sequence[Candidate]) -> list[Candidate]:
    """Who is asked when all others have failed a job: its answers are as good as any while it
    is up, and to try it is better than to end the job."""
    return [
        c
        for c in candidates
        if c.condition == "flapping"
        and not any(need in c.powers.unable for need in job.needs)
        and (job.prompt_tokens is None or c.context is None or job.prompt_tokens + 1 <= c.context)
    ]


def _class(candidate: Candidate) -> tuple[int, int]:
    """The lower the better. One that has failed is not tried while another has room."""
    verdict = candidate.verdict
    weight = 0
    if verdict is not None:
        weight = 1 if verdict == "after" else 4
    if candidate.condition == "trial":
        weight += 2
    return weight, candidate.rank


def _order(candidate: Candidate) -> tuple[tuple[int, int], float]:
    return _class(candidate), candidate.load


def _all_of(usable: list[Candidate], candidates: Sequence[Candidate]) -> tuple[EngineTarget, ...]:
    """Also those that are not up now, and may be when the job's turn comes."""
    return tuple(c.target for c in (*usable, *(c for c in candidates if c not in usable)))


def _choose(
    best: list[Candidate], affinity: str | None, last_url: str | None
) -> tuple[Candidate, str]:
    if len(best) == 1:
        return best[0], "affinity" if best[0].url == last_url else "preferred"
    idlest = min(best, key=lambda c: c.load)
    if affinity is not None:
        bound = 2 * min(c.used for c in best) + _LEANING
        own = next((c for c in best if c.url == last_url), None)
        if own is None:
            own = max(best, key=lambda c: score(affinity, c.url))
        if own.used <= bound:
            return own, "affinity"
    return idlest, "load"


def _to_warm(chosen: Candidate, usable: list[Candidate]) -> EngineTarget | None:
    """The best engine that was passed over only because it is cold."""
    cold = [c for c in usable if c.cold and c.verdict == "after" and c.rank < chosen.rank]
    return min(cold, key=lambda c: c.rank).target if cold and chosen.has_room else None
