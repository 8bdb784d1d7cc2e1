"""`/internal/v1`: what brokers ask (CONTRACT, "Internal API"). Service credential only."""

from __future__ import annotations

import secrets
import time
from collections.abc import Awaitable, Callable

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from contracts.grants import Grant, GrantRequest, Lease, Reservation, Settlement
from contracts.policy import SCOPE_GENERATE, PolicySnapshot
from contracts.problems import ProblemError
from control_plane.auth import Identity, examine, is_service, require_scope, unauthenticated
from control_plane.grants import INSPECTION, choose_engine, find_model, limits_for
from control_plane.ledger import OpenGrant
from control_plane.plane import Plane
from control_plane.policy import build_snapshot, etag, matches
from control_plane.settlements import check_settlement
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
        code, actor = "internal", "nobody"
        try:
            identity = self._identify(question.credential)
            actor = identity.user_id
            grant = await self._grant(identity, question)
            code = "ok"
        except ProblemError as problem:
            code = problem.code
            self._plane.tally.add(actor, "grant", code, self._plane.clock())
            raise
        finally:
            self._plane.metrics.grants.labels(code).inc()
            self._plane.metrics.grant_seconds.observe(time.perf_counter() - started)
        return respond(grant)

    def _identify(self, credential: str) -> Identity:
        plane, now = self._plane, self._plane.clock()
        return plane.roster.identify(examine(credential, plane.signer.public_keys, now), now)

    async def _grant(self, identity: Identity, asked: GrantRequest) -> Grant:
        """What it may, on which engine; last, because it takes something, the slot."""
        plane = self._plane
        require_scope(identity, SCOPE_GENERATE)
        model = find_model(plane.models, asked.request.model, identity.tier)
        limits = limits_for(asked.request, plane.limits)
        engine, fallbacks = choose_engine(model, plane.engines.is_healthy)
        admission = await plane.books.open(
            plane.roster.allowance(identity.user_id),
            _fresh_grant(identity.user_id, asked.node, model.id),
            asked.request.prompt_tokens_estimate,
            limits.max_tokens,
        )
        return Grant(
            grant_id=admission.grant.id,
            user_id=identity.user_id,
            tier=identity.tier,
            engine=plane.prober.proven(engine),
            fallbacks=[plane.prober.proven(fallback) for fallback in fallbacks],
            limits=msgspec.structs.replace(
                limits, max_tokens=admission.max_tokens, quota_limited=admission.limited
            ),
            tools=[],
            inspection=INSPECTION,
            pacing=plane.pacing,
            lease=Lease(id=admission.grant.lease_id, ttl_s=plane.settings.lease_ttl),
            reservation=Reservation(tokens=admission.grant.tokens),
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
        plane = self._plane
        body = await decode(request, LostLeases, plane.settings.body_max)
        refused = await plane.books.acquire(body.leases, body.node, plane.roster.allowance)
        return respond({"refused": refused})

    async def _renew(self, ids: list[str]) -> list[str]:
        plane = self._plane
        unknown = await plane.books.renew(ids, plane.roster.allowance)
        plane.metrics.leases_unknown.inc(len(unknown))
        return unknown

    async def settle(self, request: Request) -> Response:
        """Writes the usage of an ended job. After the 204 a broker may forget it, so the
        row is on disk by then."""
        plane = self._plane
        settlement = await decode(request, Settlement, plane.settings.body_max)
        check_settlement(settlement)
        first = await plane.books.settle(settlement)
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
        snapshot = self._snapshot()
        headers = {"ETag": etag(snapshot.version), "Cache-Control": "no-cache"}
        if matches(request.headers.get("if-none-match"), snapshot.version):
            return Response(status_code=304, headers=headers)
        return respond(snapshot, headers=headers)

    def _snapshot(self) -> PolicySnapshot:
        plane, now = self._plane, self._plane.clock()
        return build_snapshot(
            keys=plane.roster.key_entries(now),
            revoked=sorted(plane.roster.revoked),
            public_keys=plane.signer.jwks,
            models=plane.prober.proven_models(plane.models),
            limits=plane.limits,
            pacing=plane.pacing,
            now=now,
        )


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
