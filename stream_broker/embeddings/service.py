"""One request for embeddings from its grant to its settlement.

    grant ─▶ (turn) ─▶ per engine of the grant: cache ─▶ engine for what is missing ─▶ settled
                        └── fails: the next engine, for all of the items: no answer is made
                            of two engines' vectors

A request costs what its items cost, whether they were cached or not: nobody learns from a
bill what others have asked, and the cache is kept per user besides (docs/adr/0018).
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import msgspec

from contracts.grants import (
    EngineTarget,
    Grant,
    GrantQuestion,
    Outcome,
    Settlement,
    Usage,
)
from contracts.policy import SCOPE_GENERATE
from contracts.problems import ProblemError
from stream_broker.authn import Principal
from stream_broker.cache.hot import HotCache
from stream_broker.embeddings.engines import EmbeddingEngines
from stream_broker.embeddings.request import EmbeddingSpec, Item
from stream_broker.embeddings.turn import TurnSource, engines_for
from stream_broker.embeddings.vectors import Vector, unpack
from stream_broker.embeddings.wire import EngineFailed, EngineRefused
from stream_broker.engines import failures
from stream_broker.granting import Granting
from stream_broker.ids import Home, new_job_id
from stream_broker.leases import LeaseKeeper
from stream_broker.metrics import BrokerMetrics
from stream_broker.settlements import SettlementSpool

# Items that are looked up and asked for at a time.
GROUP: Final = 256
# Numbers in one answer: 8 MiB of floats, which is some 40 MB of JSON.
FLOATS_MAX: Final = 2 << 20
_EVENTS: Final[dict[Outcome, str]] = {
    "completed": "job_complete",
    "failed": "job_error",
    "cancelled": "job_cancelled",
}


class Embedded(msgspec.Struct, frozen=True):
    """An answer: a vector for each item, in order; `model` is the public name."""

    model: str
    vectors: list[Vector]

    @property
    def tokens(self) -> int:
        """Of all items."""
        return sum(vector.tokens for vector in self.vectors)


class _Spent:
    """What a request has cost so far, and where."""

    def __init__(self) -> None:
        self.tokens = 0
        self.cached = 0
        self.engine = ""


class Embedder:
    """Serves requests for embeddings on one broker. `most` at once; `clock` is Unix time."""

    def __init__(
        self,
        home: Home,
        node: str,
        most: int,
        granting: Granting,
        turns: TurnSource,
        leases: LeaseKeeper,
        spool: SettlementSpool,
        engines: EmbeddingEngines,
        cache: HotCache,
        metrics: BrokerMetrics,
        faulted: Callable[[EngineTarget, str], None],
        running_for: Callable[[str], int],
        clock: Callable[[], float],
    ) -> None:
        self._home = home
        self._node = node
        self._most = most
        self._granting = granting
        self._turns = turns
        self._leases = leases
        self._spool = spool
        self._engines = engines
        self._cache = cache
        self._metrics = metrics
        self._faulted = faulted
        self._running_for = running_for
        self._clock = clock
        self._users: Counter[str] = Counter()
        self._none_left = asyncio.Event()
        self.draining = False

    def __len__(self) -> int:
        return self._users.total()

    async def embed(self, principal: Principal, spec: EmbeddingSpec) -> Embedded:
        """The vectors. Raises ProblemError for a refusal, EngineFailed where no engine
        answers. Whoever is cancelled is settled as such."""
        self._check(principal)
        with self._counted(principal.user_id):
            created_at = self._clock()
            grant = await self._granting.ask(principal, _question(spec), self._others)
            spent = _Spent()
            self._leases.hold(grant.lease.id, principal.user_id)
            outcome, code = "cancelled", "disconnect"
            try:
                vectors = await self._within(grant, principal.user_id, spec, spent)
                outcome, code = "completed", "stop"
            except ProblemError as problem:
                outcome, code = "failed", problem.code
                raise
            except EngineFailed as failed:
                outcome, code = "failed", failed.failure.code
                raise
            except Exception:
                outcome, code = "failed", "internal"
                raise
            finally:
                self._leases.drop(grant.lease.id)
                self._settle(grant, spec, spent, created_at, outcome, code)  # type: ignore[arg-type]
            return Embedded(grant.model or spec.model, vectors)

    async def finished(self) -> None:
        """Returns once nobody waits here; the caller sets the time limit."""
        while self._users:
            self._none_left.clear()
            await self._none_left.wait()

    def _check(self, principal: Principal) -> None:
        if SCOPE_GENERATE not in principal.scopes:
            raise ProblemError("scope_missing", f"The scope {SCOPE_GENERATE} is needed")
        if self.draining:
            raise ProblemError("draining", "This broker takes no new requests")
        if len(self) >= self._most:
            raise ProblemError("overloaded", "This broker has as many requests as it may")

    def _others(self, user_id: str) -> int:
        """The user's others here, of all kinds, beside the one that is counted already."""
        return self._users[user_id] - 1 + self._running_for(user_id)

    @contextmanager
    def _counted(self, user_id: str) -> Iterator[None]:
        """One more of this user's."""
        self._users[user_id] += 1
        try:
            yield
        finally:
            self._users[user_id] -= 1
            if not self._users[user_id]:
                del self._users[user_id]
            if not self._users:
                self._none_left.set()

    async def _within(
        self, grant: Grant, user_id: str, spec: EmbeddingSpec, spent: _Spent
    ) -> list[Vector]:
        try:
            async with asyncio.timeout(grant.limits.deadline_s):
                targets = await engines_for(grant, self._turns)
                return await self._of_any(targets, user_id, spec, spent)
        except TimeoutError as error:
            raise EngineFailed(failures.stalled()) from error

    async def _of_any(
        self, targets: Sequence[EngineTarget], user_id: str, spec: EmbeddingSpec, spent: _Spent
    ) -> list[Vector]:
        """The vectors of the first engine that has them all."""
        refused: EngineRefused | None = None
        failed: EngineFailed | None = None
        for target in targets:
            if target.kind == "tf_serving":
                continue
            spent.engine = target.kind
            try:
                return await self._of(target, user_id, spec, spent)
            except EngineRefused as error:
                refused = error
                # Another engine of the model may make embeddings; the text stays the same.
                if error.field != "model":
                    break
            except EngineFailed as error:
                self._faulted(target, error.failure.code)
                failed = error
        if refused is not None:
            raise ProblemError(refused.code, refused.message, field=refused.field) from refused
        if failed is not None:
            raise failed
        raise ProblemError("invalid_request", "This model makes no embeddings", field="model")

    async def _of(
        self, target: EngineTarget, user_id: str, spec: EmbeddingSpec, spent: _Spent
    ) -> list[Vector]:
        vectors: list[Vector] = []
        for first in range(0, len(spec.items), GROUP):
            items = spec.items[first : first + GROUP]
            vectors += await self._of_some(target, user_id, items, spec.dimensions, spent)
            _check_size(vectors, spec)
        return vectors

    async def _of_some(
        self,
        target: EngineTarget,
        user_id: str,
        items: Sequence[Item],
        dimensions: int | None,
        spent: _Spent,
    ) -> list[Vector]:
        keys = [key_of(user_id, target, dimensions, item) for item in items]
        kept = await self._cache.get("embedding", keys)
        known = {key: vector for key, value in kept.items() if (vector := unpack(value))}
        missing = {key: item for key, item in zip(keys, items, strict=True) if key not in known}
        if missing:
            fresh = await self._engines.vectors(target, list(missing.values()), dimensions)
            made = dict(zip(missing, fresh, strict=True))
            self._cache.put("embedding", [(key, vector.pack()) for key, vector in made.items()])
            known |= made
        vectors = [known[key] for key in keys]
        spent.tokens += sum(vector.tokens for vector in vectors)
        spent.cached += sum(known[key].tokens for key in keys if key not in missing)
        return vectors

    def _settle(
        self,
        grant: Grant,
        spec: EmbeddingSpec,
        spent: _Spent,
        created_at: float,
        outcome: Outcome,
        code: str,
    ) -> None:
        usage = Usage(prompt_tokens=spent.tokens, cached_tokens=spent.cached)
        self._spool.add(
            Settlement(
                job_id=new_job_id(self._home, created_at, os.urandom(10)),
                grant_id=grant.grant_id,
                lease_id=grant.lease.id,
                user_id=grant.user_id,
                model=grant.model or spec.model,
                engine=spent.engine,
                node=self._node,
                outcome=outcome,
                code=code,
                usage=usage,
                created_at=created_at,
                first_token_at=None,
                ended_at=self._clock(),
            )
        )
        body = {"code": code, "usage": msgspec.structs.asdict(usage)}
        model = grant.model or spec.model
        self._metrics.job_ended(_EVENTS[outcome], "embedding", model, body)


def key_of(user_id: str, target: EngineTarget, dimensions: int | None, item: Item) -> bytes:
    """Under which a vector is kept: of this user, this model of the engine, this content."""
    named = (user_id, target.kind, target.model, dimensions, item)
    return hashlib.sha256(msgspec.json.encode(named)).digest()


def _question(spec: EmbeddingSpec) -> GrantQuestion:
    return GrantQuestion(
        model=spec.model,
        kind="embedding",
        prompt_tokens_estimate=spec.tokens_estimate,
        # It generates none; a grant is for one at least.
        max_tokens=1,
    )


def _check_size(vectors: Sequence[Vector], spec: EmbeddingSpec) -> None:
    """Raises EngineRefused for an answer of other dimensions, ProblemError for one too big."""
    dimensions = vectors[0].dimensions
    if spec.dimensions not in (None, dimensions):
        told = f"This model's embeddings have {dimensions} dimensions"
        raise EngineRefused("invalid_request", told, "dimensions")
    if dimensions * len(spec.items) > FLOATS_MAX:
        raise ProblemError(
            "invalid_request",
            f"At most {FLOATS_MAX // dimensions} items of {dimensions} dimensions at a time",
            field="input",
        )
