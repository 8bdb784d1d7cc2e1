"""Takes a request on: claim the key, ask for the grant, make the record, start.

In that order, so that whatever dies in between, a repeated request never starts a
second inference (DESIGN, "Idempotency before the grant").
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass

import msgspec
from msgspec.structs import replace

from contracts.grants import Grant, GrantQuestion
from contracts.policy import SCOPE_GENERATE
from contracts.problems import ProblemError
from inventory.settings import Settings
from observability.traces import ASKED, Trace, begin
from stream_broker.abandoned import Abandoned
from stream_broker.authn import Principal
from stream_broker.control import ControlClient
from stream_broker.directory import Directory
from stream_broker.granting import Ended, Granting, Told
from stream_broker.ids import Home, new_job_id
from stream_broker.log.base import Claim, EventLog, LogUnavailable
from stream_broker.log.memory import MemoryLog
from stream_broker.log.redis import RedisLog
from stream_broker.policy import PolicyHolder
from stream_broker.record import JobHead, JobState
from stream_broker.requests import JobSpec
from stream_broker.running import Runner

# A claim whose job has no record after this many seconds is taken up by a repetition.
STALE_CLAIM_S = 5.0
_CLAIM_POLL_S = 0.05


@dataclass(frozen=True, slots=True)
class Accepted:
    """A job for a request: a new one, or the one an earlier request with the key made."""

    state: JobState
    replayed: bool


class Acceptance:
    """The way in for jobs of every shape.

    `told` hears of each request what became of it, `accepted`, `replayed` or a code, and after
    how many seconds; `granted` the same of the grants. `ended`: see Granting.
    """

    def __init__(
        self,
        settings: Settings,
        home: Home,
        process: str,
        node: str,
        control: ControlClient,
        policy: PolicyHolder,
        runner: Runner,
        directory: Directory,
        memory: MemoryLog,
        redis: RedisLog | None,
        abandoned: Abandoned | None,
        clock: Callable[[], float],
        told: Told = lambda *_: None,
        granted: Told = lambda *_: None,
        ended: Ended = lambda _: [],
    ) -> None:
        self._settings = settings
        self._home = home
        self._process = process
        self._granting = Granting(settings, node, control, policy, clock, granted, ended)
        self._told = told
        self._runner = runner
        self._directory = directory
        self._memory = memory
        self._redis = redis
        self._abandoned = abandoned
        self._clock = clock
        self.draining = False

    async def accept(
        self, principal: Principal, spec: JobSpec, key: str | None, route: str
    ) -> Accepted:
        """Starts the job, or finds the one that `key` started. Raises ProblemError."""
        began, outcome = self._runner.monotonic(), "internal"
        try:
            accepted = await self._accept(principal, spec, key, route)
            outcome = "replayed" if accepted.replayed else "accepted"
            return accepted
        except ProblemError as problem:
            outcome = problem.code
            raise
        except asyncio.CancelledError:
            outcome = "left"
            raise
        finally:
            self._told(outcome, self._runner.monotonic() - began)

    async def _accept(
        self, principal: Principal, spec: JobSpec, key: str | None, route: str
    ) -> Accepted:
        if SCOPE_GENERATE not in principal.scopes:
            raise ProblemError("scope_missing", f"The scope {SCOPE_GENERATE} is needed")
        self._check_room()
        job_id = self._new_id()
        if key is None:
            return Accepted(await self._begin(principal, spec, job_id, None), replayed=False)
        log: EventLog = self._redis or self._memory
        claim_key = _claim_key(principal.user_id, route, key)
        try:
            found = await self._claimed(log, claim_key, job_id, spec, principal.user_id)
            if isinstance(found, JobState):
                return Accepted(found, replayed=True)
            try:
                return Accepted(await self._begin(principal, spec, found, log), replayed=False)
            except ProblemError:
                await log.unclaim(claim_key, found)
                raise
        except LogUnavailable as error:
            raise ProblemError(
                "log_unavailable", "The key cannot be checked now; try again"
            ) from error

    def _new_id(self) -> str:
        return new_job_id(self._home, self._clock(), os.urandom(10))

    def _check_room(self) -> None:
        if self.draining:
            raise ProblemError("draining", "This broker takes no new jobs")
        if len(self._runner.jobs) >= self._settings.jobs_per_broker:
            raise ProblemError("overloaded", "This broker runs as many jobs as it may")

    async def _claimed(
        self, log: EventLog, key: str, job_id: str, spec: JobSpec, user_id: str
    ) -> str | JobState:
        """The id under which to begin, or the job that stands under the key already."""
        # Who claims is this request, not this process: two may come in one instant.
        by = f"{self._process}-{os.urandom(4).hex()}"
        while True:
            now = self._clock()
            claim = Claim(job_id=job_id, body_hash=spec.body_hash, at=now, by=by)
            standing = await log.claim(key, claim, stale_before=now - STALE_CLAIM_S)
            if standing.body_hash != spec.body_hash:
                raise ProblemError("idempotency_key_reused", "The key was used with another body")
            if standing.by == by:
                return standing.job_id
            try:
                return await self._directory.state(standing.job_id, user_id)
            except ProblemError as error:
                if error.code not in ("unknown_job", "not_here"):
                    raise
            # Its first request is still on the way to a record, or has died there; who has
            # claimed in a shared log never begins in its home's memory.
            await asyncio.sleep(_CLAIM_POLL_S)

    async def _begin(
        self, principal: Principal, spec: JobSpec, job_id: str, claimed_in: EventLog | None
    ) -> JobState:
        """Asks for the grant, makes the record, starts the relay.

        A job whose key is claimed in the shared log must have its record there too: a
        repetition on another broker would else start it again.
        """
        created_at = self._clock()
        trace = self._trace()
        grant = await self._grant(principal, spec, trace)
        if trace is not None:
            trace = replace(trace, begun_at=self._clock())
        log: EventLog = self._redis or self._memory
        head = self._head(principal, spec, job_id, created_at, grant, log, trace)
        leased_at = self._runner.monotonic()
        try:
            epoch = await log.create(head)
        except LogUnavailable:
            if claimed_in is not None:
                self._abandon(head, claimed=True)
                raise
            # Under an id of its own: the record may be there after all, with its answer
            # lost, and whoever takes that job over must not be a second relay of this one.
            self._abandon(head, claimed=False)
            job_id = self._new_id()
            head = self._head(principal, spec, job_id, created_at, grant, self._memory, trace)
            epoch = await self._memory.create(head)
        return self._runner.start(head, epoch, leased_at).state()

    def _abandon(self, head: JobHead, *, claimed: bool) -> None:
        if self._abandoned is not None:
            note = self._abandoned.refused if claimed else self._abandoned.replaced
            note(head)

    def _head(
        self,
        principal: Principal,
        spec: JobSpec,
        job_id: str,
        created_at: float,
        grant: Grant,
        log: EventLog,
        trace: Trace | None,
    ) -> JobHead:
        return JobHead(
            job_id=job_id,
            user_id=principal.user_id,
            kind=spec.kind,
            model=grant.model or spec.model,
            created_at=round(created_at, 6),
            durability=log.durability,
            grant=grant,
            call={"messages": spec.messages, **spec.sampling},
            prompt_estimate=spec.prompt_estimate,
            include_usage=spec.include_usage,
            session_id=spec.session_id,
            conversation_id=spec.conversation_id,
            metadata=spec.metadata,
            trace=trace,
        )

    def _trace(self) -> Trace | None:
        if not self._settings.otlp_endpoint:
            return None
        return begin(ASKED.get(), os.urandom(24), self._settings.traces_share)

    async def _grant(self, principal: Principal, spec: JobSpec, trace: Trace | None) -> Grant:
        question = GrantQuestion(
            model=spec.model,
            kind=spec.kind,
            prompt_tokens_estimate=spec.prompt_estimate,
            max_tokens=spec.max_tokens,
            session_id=spec.session_id,
            tools=bool(spec.sampling.get("tools")),
            server_tools=spec.server_tools,
            vision=spec.vision,
            affinity=affinity_of(principal.user_id, spec),
        )
        traceparent = trace.header("job") if trace else None
        return await self._granting.ask(principal, question, self._runner.running_for, traceparent)


def affinity_of(user_id: str, spec: JobSpec) -> str:
    """The same for the requests of one conversation, which share a beginning that the engine
    of the last one may still hold. A hash: the control plane learns no content by it."""
    named = spec.session_id or spec.conversation_id
    begun: object = named
    if named is None:
        # A conversation grows at its end: what it began with stays.
        first = next((n for n, m in enumerate(spec.messages) if m.get("role") == "user"), 0)
        begun = spec.messages[: first + 1]
    return hashlib.sha256(msgspec.json.encode((user_id, spec.model, begun))).hexdigest()[:16]


def _claim_key(user_id: str, route: str, key: str) -> str:
    return hashlib.sha256("\0".join((user_id, route, key)).encode()).hexdigest()
