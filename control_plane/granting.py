"""Decides on jobs: who may what, on which engine; a slot and tokens set aside for it."""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from typing import Any

import msgspec

from contracts.grants import (
    EngineTarget,
    Grant,
    GrantRequest,
    Lease,
    Limits,
    Reservation,
    Told,
)
from contracts.policy import SCOPE_GENERATE
from contracts.problems import ProblemError
from control_plane.auth import Identity, examine, require_scope
from control_plane.books import Asked
from control_plane.grants import choose_engine, limits_for, pacing_of, told_of
from control_plane.holdings import Admission, OpenGrant
from control_plane.plane import Plane
from control_plane.settlements import check_name


class Choice(msgspec.Struct, frozen=True):
    """What is decided before anything is taken."""

    identity: Identity
    limits: Limits
    told: list[Told]
    pacing: dict[str, Any]
    engine: EngineTarget
    fallbacks: list[EngineTarget]
    asked: Asked


class Granting:
    """The decisions of one plane, counted and timed."""

    def __init__(self, plane: Plane) -> None:
        self._plane = plane

    async def decide(self, question: GrantRequest) -> Grant:
        """Decides on one job. Raises ProblemError."""
        (answer,) = await self.decide_each([question])
        if isinstance(answer, ProblemError):
            raise answer
        return answer

    async def decide_each(self, questions: Sequence[GrantRequest]) -> list[Grant | ProblemError]:
        """Decides on each of several jobs by itself; they share a commit, and nothing else."""
        started = time.perf_counter()
        codes = ["internal"] * len(questions)
        try:
            answers = await self._decide_each(questions)
            codes = [a.code if isinstance(a, ProblemError) else "ok" for a in answers]
        except ProblemError as problem:
            codes = [problem.code] * len(questions)
            raise
        finally:
            seconds = time.perf_counter() - started
            for code in codes:
                self._plane.metrics.grants.labels(code).inc()
                self._plane.metrics.grant_seconds.observe(seconds)
        return answers

    async def _decide_each(self, questions: Sequence[GrantRequest]) -> list[Grant | ProblemError]:
        now = self._plane.clock()
        choices = [self._choose(question, now) for question in questions]
        asked = [choice.asked for choice in choices if isinstance(choice, Choice)]
        admitted = iter(await self._plane.books.open_each(asked))
        return [
            self._answer(choice, next(admitted)) if isinstance(choice, Choice) else choice
            for choice in choices
        ]

    def _choose(self, question: GrantRequest, now: float) -> Choice | ProblemError:
        """Who may what, on which engine; nothing is taken yet."""
        plane, asked, actor = self._plane, question.request, "nobody"
        try:
            check_name("node", question.node)
            proof = examine(question.credential, plane.signer.public_keys, now)
            identity = plane.roster.identify(proof, now)
            actor = identity.user_id
            require_scope(identity, SCOPE_GENERATE)
            model = plane.rules.model_for(asked.model, identity.tier)
            limits = limits_for(asked, plane.limits, plane.rules.tokens_most(model, identity.tier))
            engine, fallbacks = choose_engine(model, plane.engines.is_healthy)
        except ProblemError as problem:
            return self._refused(actor, problem)
        fresh = _fresh_grant(identity.user_id, question.node, model.id)
        allowance = plane.roster.allowance(identity.user_id)
        tokens = Asked(allowance, fresh, asked.prompt_tokens_estimate, limits.max_tokens)
        pacing = pacing_of(plane.settings, model.rules.pacing)
        told = told_of(asked, limits)
        return Choice(identity, limits, told, pacing, engine, fallbacks, tokens)

    def _answer(self, choice: Choice, admitted: Admission | ProblemError) -> Grant | ProblemError:
        if isinstance(admitted, ProblemError):
            return self._refused(choice.identity.user_id, admitted)
        plane, grant = self._plane, admitted.grant
        return Grant(
            grant_id=grant.id,
            user_id=grant.user_id,
            tier=choice.identity.tier,
            engine=plane.prober.proven(choice.engine),
            fallbacks=[plane.prober.proven(fallback) for fallback in choice.fallbacks],
            limits=msgspec.structs.replace(
                choice.limits, max_tokens=admitted.max_tokens, quota_limited=admitted.limited
            ),
            tools=[],
            inspection=plane.rules.document.inspection,
            pacing=choice.pacing,
            notices=choice.told,
            lease=Lease(id=grant.lease_id, ttl_s=plane.settings.lease_ttl),
            reservation=Reservation(tokens=grant.tokens),
        )

    def _refused(self, actor: str, problem: ProblemError) -> ProblemError:
        self._plane.tally.add(actor, "grant", problem.code, self._plane.clock())
        return problem


def _fresh_grant(user_id: str, node: str, model: str) -> OpenGrant:
    """Ids for a new grant; its times and tokens are the ledger's to say."""
    return OpenGrant(
        id=f"grant_{secrets.token_hex(12)}",
        lease_id=f"lease_{secrets.token_hex(12)}",
        user_id=user_id,
        node=node,
        model=model,
        tokens=0,
        created_at=0.0,
        lease_until=0.0,
        reserved_until=0.0,
    )
