"""`/internal/v1`: what brokers ask (CONTRACT, "Internal API"). Service credential only."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from contracts.grants import (
    SETTLEMENT_MAX,
    Grant,
    GrantAnswer,
    GrantRequest,
    GrantRequests,
    Settlement,
    Settlements,
)
from contracts.policy import PolicySnapshot
from contracts.problems import ProblemError
from contracts.tools import Invocation
from control_plane.auth import is_service, unauthenticated
from control_plane.granting import Granting
from control_plane.placing.overview import capable
from control_plane.plane import Plane
from control_plane.policy import KeptSnapshot, etag, matches
from control_plane.routes.placing import Placing
from control_plane.settlements import check_name
from control_plane.settling import Settling
from control_plane.tools.offering import with_tools
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
        self._granting = Granting(plane)
        self._settling = Settling(plane)
        self._placing = Placing(plane)
        self._kept = KeptSnapshot()

    def routes(self) -> list[Route]:
        """All of them, each behind the service credential."""
        table: list[tuple[str, str, Endpoint]] = [
            ("POST", "/grants", self.grant),
            ("POST", "/grants/batch", self.grant_many),
            ("POST", "/grants/{grant_id}/turn", self._placing.turn),
            ("POST", "/engines/reports", self._placing.report),
            ("POST", "/leases/renew", self.renew_many),
            ("POST", "/leases/acquire", self.acquire_many),
            ("POST", "/leases/{lease_id}/renew", self.renew),
            ("POST", "/settlements", self.settle),
            ("POST", "/settlements/batch", self.settle_many),
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
        """Decides on one job."""
        question = await decode(request, GrantRequest, self._plane.settings.body_max)
        return respond(await self._granting.decide(question))

    async def grant_many(self, request: Request) -> Response:
        """Decides on each of several jobs by itself: 200 `{answers}`, in order."""
        body = await decode(request, GrantRequests, self._plane.settings.body_max)
        answers = await self._granting.decide_each(body.questions)
        return respond({"answers": [_answer(answer) for answer in answers]})

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
        check_name("node", body.node)
        for lease_id in body.leases:
            check_name("leases", lease_id)
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
        settlement = await decode(request, Settlement, SETTLEMENT_MAX)
        await self._settling.settle(settlement)
        return Response(status_code=204)

    async def settle_many(self, request: Request) -> Response:
        """The same for several: 200 `{refused: {job id: reason}}`, of those that no
        repetition makes better."""
        body = await decode(request, Settlements, SETTLEMENT_MAX)
        return respond({"refused": await self._settling.settle_each(body.settlements)})

    async def invoke_tool(self, request: Request) -> Response:
        """Calls a tool of the policy: 200 `{ok, content}`, also where it failed."""
        asked = await decode(request, Invocation, self._plane.settings.body_max)
        name: str = request.path_params["name"]
        return respond(await self._plane.calling.invoke(name, asked))

    async def policy(self, request: Request) -> Response:
        """The policy snapshot; 304 when `If-None-Match` names it."""
        snapshot = self._snapshot()
        headers = {"ETag": etag(snapshot.version), "Cache-Control": "no-cache"}
        if matches(request.headers.get("if-none-match"), snapshot.version):
            return Response(status_code=304, headers=headers)
        return respond(snapshot, headers=headers)

    def _snapshot(self) -> PolicySnapshot:
        plane = self._plane
        return self._kept.get(
            plane.roster,
            plane.clock(),
            public_keys=plane.signer.jwks,
            models=with_tools(
                capable(plane.dispatcher, plane.prober.proven_models(plane.models)), plane.tools
            ),
            tools=plane.tools.offered(),
            aliases=plane.rules.aliases,
            tiers=plane.rules.tier_limits(plane.roster.streams_of_tier),
            default_tier=plane.rules.document.default_tier,
            limits=plane.limits,
            pacing=plane.pacing,
        )


def _answer(decided: Grant | ProblemError) -> GrantAnswer:
    if isinstance(decided, ProblemError):
        return GrantAnswer(problem=decided.body(), headers=decided.headers())
    return GrantAnswer(grant=decided)
