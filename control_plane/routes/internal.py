"""`/internal/v1`: what brokers ask (CONTRACT, "Internal API"). Service credential only."""

from __future__ import annotations

import secrets
import sqlite3
import time
from collections.abc import Awaitable, Callable

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from contracts.grants import Grant, GrantRequest, Lease, Reservation, Settlement
from contracts.policy import SCOPE_GENERATE, PolicySnapshot
from contracts.problems import ProblemError
from control_plane.auth import Proof, examine, is_service, require_scope, unauthenticated
from control_plane.grants import INSPECTION, choose_engine, find_model, limits_for
from control_plane.plane import Plane
from control_plane.policy import build_snapshot, etag, matches
from control_plane.settlements import check_settlement
from control_plane.store.accounts import identify, key_entries, revoked_tokens
from control_plane.store.leases import acquire_leases, renew_leases, reserve, take_lease
from control_plane.store.usage import settle
from control_plane.web import decode, respond

Endpoint = Callable[[Request], Awaitable[Response]]


class LeaseIds(msgspec.Struct, frozen=True):
    """Body of `POST /internal/v1/leases/renew`."""

    ids: list[str]


class LostLeases(msgspec.Struct, frozen=True):
    """Body of `POST /internal/v1/leases/acquire`: lease id -> user id, of jobs that run."""

    leases: dict[str, str]
    node: str


class Internal:
    """The internal routes over one plane."""

    def __init__(self, plane: Plane) -> None:
        self._plane = plane

    def routes(self) -> list[Route]:
        """All of them, each behind the service credential."""
        table: list[tuple[str, str, Endpoint]] = [
            ("POST", "/grants", self.grant),
            ("POST", "/leases/renew", self.renew_many),
            ("POST", "/leases/acquire", self.acquire_many),
            ("POST", "/leases/{lease_id}/renew", self.renew),
            ("POST", "/settlements", self.settle),
            ("POST", "/tools/{name}/invoke", self.invoke_tool),
            ("GET", "/policy", self.policy),
        ]
        return [
            Route(f"/internal/v1{path}", self._guarded(endpoint), methods=[method])
            for method, path, endpoint in table
        ]

    def _guarded(self, endpoint: Endpoint) -> Endpoint:
        async def guarded(request: Request) -> Response:
            if not is_service(request.headers.get("authorization"), self._plane.service_key):
                raise unauthenticated()
            return await endpoint(request)

        return guarded

    async def grant(self, request: Request) -> Response:
        """Decides on one job; counts and times the decision."""
        question = await decode(request, GrantRequest, self._plane.settings.body_max)
        started = time.perf_counter()
        code = "internal"
        try:
            grant = await self._grant(question)
            code = "ok"
        except ProblemError as problem:
            code = problem.code
            raise
        finally:
            self._plane.metrics.grants.labels(code).inc()
            self._plane.metrics.grant_seconds.observe(time.perf_counter() - started)
        return respond(grant)

    async def _grant(self, question: GrantRequest) -> Grant:
        plane, now = self._plane, self._plane.clock()
        proof = examine(question.credential, plane.signer.public_keys, now)
        return await plane.database.write(lambda c: self._decide(c, question, proof, now))

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

    async def renew(self, request: Request) -> Response:
        """Keeps one slot: 204, or 404 when the lease holds none."""
        if await self._renew([request.path_params["lease_id"]]):
            raise ProblemError("not_found", "No such lease holds a slot; ask for a new grant.")
        return Response(status_code=204)

    async def renew_many(self, request: Request) -> Response:
        """Keeps many slots in one call: 200 `{unknown: [ids that hold none]}`."""
        body = await decode(request, LeaseIds, self._plane.settings.body_max)
        return respond({"unknown": await self._renew(body.ids)})

    async def acquire_many(self, request: Request) -> Response:
        """Takes slots for jobs that run already: 200 `{refused: [ids without a slot]}`."""
        body = await decode(request, LostLeases, self._plane.settings.body_max)
        plane, now = self._plane, self._plane.clock()
        refused = await plane.database.write(
            lambda c: acquire_leases(c, body.leases, body.node, plane.lease_rule, now)
        )
        return respond({"refused": refused})

    async def _renew(self, ids: list[str]) -> list[str]:
        plane, now = self._plane, self._plane.clock()
        unknown = await plane.database.write(lambda c: renew_leases(c, ids, plane.lease_rule, now))
        plane.metrics.leases_unknown.inc(len(unknown))
        return unknown

    async def settle(self, request: Request) -> Response:
        """Writes the usage of an ended job. After the 204 a broker may forget it, so the
        row is on disk by then."""
        plane, now = self._plane, self._plane.clock()
        settlement = await decode(request, Settlement, plane.settings.body_max)
        check_settlement(settlement)
        first = await plane.database.write(lambda c: settle(c, settlement, now), durable=True)
        plane.metrics.settlements.labels(settlement.outcome, str(first).lower()).inc()
        if first:
            self._count_tokens(settlement)
        return Response(status_code=204)

    def _count_tokens(self, settlement: Settlement) -> None:
        usage, tokens = settlement.usage, self._plane.metrics.tokens
        known = any(model.id == settlement.model for model in self._plane.models)
        model = settlement.model if known else "other"
        tokens.labels(model, "prompt").inc(usage.prompt_tokens)
        tokens.labels(model, "completion").inc(usage.completion_tokens)
        tokens.labels(model, "cached").inc(usage.cached_tokens)

    async def invoke_tool(self, _: Request) -> Response:
        """No tool is registered yet."""
        raise ProblemError("not_found", "No tool of this name is registered.")

    async def policy(self, request: Request) -> Response:
        """The policy snapshot; 304 when `If-None-Match` names it."""
        plane, now = self._plane, self._plane.clock()
        snapshot = await plane.database.read(lambda c: self._snapshot(c, now))
        headers = {"ETag": etag(snapshot.version), "Cache-Control": "no-cache"}
        if matches(request.headers.get("if-none-match"), snapshot.version):
            return Response(status_code=304, headers=headers)
        return respond(snapshot, headers=headers)

    def _snapshot(self, connection: sqlite3.Connection, now: float) -> PolicySnapshot:
        plane = self._plane
        return build_snapshot(
            keys=key_entries(connection, now),
            revoked=revoked_tokens(connection, now),
            public_keys=plane.signer.jwks,
            models=plane.prober.proven_models(plane.models),
            limits=plane.limits,
            pacing=plane.pacing,
            now=now,
        )
