"""Decides on jobs: who may what, on which engine; a slot and tokens set aside for it."""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Sequence
from typing import Any

import msgspec

from contracts.grants import (
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
from control_plane.grants import job_of, limits_for, pacing_of, told_of
from control_plane.holdings import Admission, OpenGrant
from control_plane.placing.questions import Decision, Question
from control_plane.plane import Plane
from control_plane.settlements import check_name
from control_plane.spans import grant_spans
from control_plane.tools.offering import granted, narrowed
from observability.logs import user_mark

log = logging.getLogger(__name__)


class Choice(msgspec.Struct, frozen=True):
    """What is decided before anything is taken."""

    identity: Identity
    limits: Limits
    told: list[Told]
    pacing: dict[str, Any]
    decision: Decision
    asked: Asked
    tools: list[dict[str, Any]]


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
        started, began = time.perf_counter(), self._plane.clock()
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
        if self._plane.traces is not None:
            self._plane.traces.tell(grant_spans(questions, answers, began, began + seconds))
        return answers

    async def _decide_each(self, questions: Sequence[GrantRequest]) -> list[Grant | ProblemError]:
        now = self._plane.clock()
        choices = [self._choose(question, now) for question in questions]
        asked = [choice.asked for choice in choices if isinstance(choice, Choice)]
        try:
            admitted = iter(await self._plane.books.open_each(asked))
        except ProblemError:
            for question in asked:
                self._plane.dispatcher.ended(question.grant.id, now)
            raise
        return [
            self._answer(choice, next(admitted)) if isinstance(choice, Choice) else choice
            for choice in choices
        ]

    def _choose(self, question: GrantRequest, now: float) -> Choice | ProblemError:
        """Who may what, on which engine; nothing is taken yet."""
        plane, asked, actor = self._plane, question.request, "nobody"
        rules = plane.rules
        try:
            check_name("node", question.node)
            proof = examine(question.credential, plane.signer.public_keys, now)
            identity = plane.roster.identify(proof, now)
            actor = identity.user_id
            require_scope(identity, SCOPE_GENERATE)
            plane.books.ledger.end(actor, question.ended, now)
            model = rules.model_for(asked.model, identity.tier)
            limits = limits_for(asked, plane.limits, rules.tokens_most(model, identity.tier))
            tools = granted(asked, model.id, model.rules, plane.tools)
            fresh = _fresh_grant(identity.user_id, question.node, model.id)
            decision = plane.dispatcher.decide(
                Question(
                    grant=fresh,
                    model=model.id,
                    tier=rules.tier_name(identity.tier),
                    job=job_of(asked),
                    max_tokens=limits.max_tokens,
                ),
                now,
            )
        except ProblemError as problem:
            return self._refused(actor, problem)
        model = rules.models[decision.model]
        told = [*decision.notices]
        if decision.smaller:
            tools, lost = narrowed(tools, model.id, model.rules, plane.tools)
            told += lost
        most = rules.tokens_most(model, identity.tier) or decision.max_tokens
        limits = msgspec.structs.replace(limits, max_tokens=min(most, decision.max_tokens))
        allowance = plane.roster.allowance(identity.user_id)
        tokens = Asked(allowance, fresh, asked.prompt_tokens_estimate, limits.max_tokens)
        pacing = pacing_of(plane.settings, model.rules.pacing)
        told = told or told_of(asked, limits)
        return Choice(identity, limits, told, pacing, decision, tokens, tools)

    def _answer(self, choice: Choice, admitted: Admission | ProblemError) -> Grant | ProblemError:
        if isinstance(admitted, ProblemError):
            self._plane.dispatcher.ended(choice.asked.grant.id, self._plane.clock())
            return self._refused(choice.identity.user_id, admitted)
        plane, grant, decision = self._plane, admitted.grant, choice.decision
        engine, *fallbacks = map(plane.prober.proven, decision.targets)
        plane.calling.note(grant.id, choice.tools)
        log.info(
            "granted",
            extra={
                "grant_id": grant.id,
                "user": user_mark(grant.user_id),
                "model": decision.model,
                "engine": engine.base_url,
                "broker": grant.node,
                "turn": decision.turn is not None,
            },
        )
        return Grant(
            grant_id=grant.id,
            user_id=grant.user_id,
            tier=choice.identity.tier,
            engine=engine,
            fallbacks=fallbacks,
            limits=msgspec.structs.replace(
                choice.limits, max_tokens=admitted.max_tokens, quota_limited=admitted.limited
            ),
            tools=choice.tools,
            tool_rounds=plane.rules.document.tool_rounds if choice.tools else 0,
            inspection=plane.rules.document.inspection,
            pacing=choice.pacing,
            notices=choice.told,
            model=decision.model if decision.smaller else None,
            turn=decision.turn,
            lease=Lease(id=grant.lease_id, ttl_s=plane.settings.lease_ttl),
            reservation=Reservation(tokens=grant.tokens),
        )

    def _refused(self, actor: str, problem: ProblemError) -> ProblemError:
        self._plane.tally.add(actor, "grant", problem.code, self._plane.clock())
        return problem


def _fresh_grant(user_id: str, node: str, model: str) -> OpenGrant:
    """Ids for a new grant; its times and tokens are the ledger's to say."""
    drawn = secrets.token_hex(24)  # at once: each draw is a call of the system
    return OpenGrant(
        id=f"grant_{drawn[:24]}",
        lease_id=f"lease_{drawn[24:]}",
        user_id=user_id,
        node=node,
        model=model,
        tokens=0,
        created_at=0.0,
        lease_until=0.0,
        reserved_until=0.0,
    )
