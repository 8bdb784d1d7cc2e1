"""Decides on jobs: who may what, on which engine; a slot and tokens set aside for it."""

from __future__ import annotations

import secrets
import sqlite3
import time
from collections.abc import Callable, Sequence
from functools import partial

from contracts.grants import Grant, GrantRequest, Lease, Reservation
from contracts.policy import SCOPE_GENERATE
from contracts.problems import ProblemError
from control_plane.auth import Proof, examine, require_scope
from control_plane.grants import INSPECTION, choose_engine, find_model, limits_for
from control_plane.plane import Plane
from control_plane.store.accounts import identify
from control_plane.store.leases import reserve, take_lease


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
        plane, now = self._plane, self._plane.clock()
        answers: list[Grant | ProblemError | None] = []
        works: list[Callable[[sqlite3.Connection], Grant]] = []
        for question in questions:
            try:
                proof = examine(question.credential, plane.signer.public_keys, now)
            except ProblemError as problem:
                answers.append(problem)
            else:
                answers.append(None)
                works.append(partial(self._decide, asked=question, proof=proof, now=now))
        decided = iter(await plane.database.write_each(works))
        return [next(decided) if answer is None else answer for answer in answers]

    def _decide(
        self, connection: sqlite3.Connection, asked: GrantRequest, proof: Proof, now: float
    ) -> Grant:
        """Who may what, on which engine; last, because it takes something, the lease.

        Runs in the store's thread: beside `connection` it only reads what is replaced whole.
        """
        plane = self._plane
        identity = identify(connection, proof, now)
        require_scope(identity, SCOPE_GENERATE)
        model = find_model(plane.models, asked.request.model, identity.tier)
        limits = limits_for(asked.request, plane.limits)
        engine, fallbacks = choose_engine(model, plane.engines.is_healthy)
        rule = plane.lease_rule
        lease_id = take_lease(connection, identity.user_id, asked.node, rule, now)
        grant_id = f"grant_{secrets.token_hex(12)}"
        tokens = asked.request.prompt_tokens_estimate + limits.max_tokens
        until = now + limits.deadline_s + rule.ttl_s
        reserve(connection, grant_id, identity.user_id, tokens, until, now)
        return Grant(
            grant_id=grant_id,
            user_id=identity.user_id,
            tier=identity.tier,
            engine=plane.prober.proven(engine),
            fallbacks=[plane.prober.proven(fallback) for fallback in fallbacks],
            limits=limits,
            tools=[],
            inspection=INSPECTION,
            pacing=plane.pacing,
            lease=Lease(id=lease_id, ttl_s=rule.ttl_s),
            reservation=Reservation(tokens=tokens),
        )
