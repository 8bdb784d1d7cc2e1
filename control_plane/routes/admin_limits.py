"""Tiers and quotas, for the admin."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, UnsetType
from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from contracts.problems import ProblemError
from control_plane.allowance import SPANS, UNITS, Allowance
from control_plane.plane import Plane
from control_plane.routes.admin import done, find_user, guarded
from control_plane.store.audit import note
from control_plane.store.enrolment import plain_name
from control_plane.store.limits import all_tiers, own_allowance, set_own_limits, set_tier_limits
from control_plane.web import decode, respond

Streams = Annotated[int, Meta(ge=0, le=100_000)]
Amount = Annotated[int, Meta(ge=0, le=1 << 53)]


class LimitChange(msgspec.Struct, frozen=True, omit_defaults=True):
    """Limits that are to be others. Null takes one away: a tier's is then unlimited, a
    user's as its tier has it."""

    streams: Streams | UnsetType | None = UNSET
    requests_day: Amount | UnsetType | None = UNSET
    tokens_day: Amount | UnsetType | None = UNSET
    requests_month: Amount | UnsetType | None = UNSET
    tokens_month: Amount | UnsetType | None = UNSET


class AdminLimits:
    """The routes over one plane."""

    def __init__(self, plane: Plane) -> None:
        self._plane = plane

    def routes(self) -> list[Route]:
        """All of them. `{user}` is an id or a name."""
        return guarded(
            self._plane,
            [
                ("GET", "/tiers", self.tiers),
                ("PATCH", "/tiers/{tier}", self.change_tier),
                ("GET", "/users/{user}/quota", self.quota),
                ("PATCH", "/users/{user}/quota", self.change_user),
            ],
        )

    async def tiers(self, _: Request) -> Response:
        """Every tier and its limits."""
        found = await self._plane.database.run(all_tiers)
        return respond({"tiers": [_named(name, limits) for name, limits in found.items()]})

    async def change_tier(self, request: Request) -> Response:
        """Limits of a tier, which is made where there is none."""
        plane, tier = self._plane, plain_name(request.path_params["tier"])
        changes = await self._changes(request)
        if tier is None:
            raise ProblemError("invalid_request", "This cannot be the name of a tier.")

        def work(connection: Connection) -> Allowance:
            set_tier_limits(connection, tier, changes)
            note(connection, done(plane, "tier.limits", tier, **changes))
            return all_tiers(connection)[tier]

        limits = await plane.database.run(work, durable=True)
        await plane.reload_roster()
        return respond(_named(tier, limits))

    async def quota(self, request: Request) -> Response:
        """What holds for a user, what of it is its own, and what is taken now."""
        plane = self._plane
        user, now = find_user(plane, request.path_params["user"]), plane.clock()
        own = await plane.database.run(lambda c: own_allowance(c, user.id))
        ledger = plane.books.ledger
        taken = {"streams": ledger.live_streams(user.id, now)}
        for unit in UNITS:
            for span in SPANS:
                taken[f"{unit}_{span}"] = ledger.taken(user.id, unit, span, now)
        return respond(
            {
                "user_id": user.id,
                "name": user.name,
                "tier": user.tier,
                "limits": plane.roster.allowance(user.id),
                "own": own,
                "taken": taken,
            }
        )

    async def change_user(self, request: Request) -> Response:
        """Limits of one user beside its tier's."""
        plane = self._plane
        user, changes = find_user(plane, request.path_params["user"]), await self._changes(request)

        def work(connection: Connection) -> None:
            set_own_limits(connection, user.id, changes)
            note(connection, done(plane, "user.limits", user.id, **changes))

        await plane.database.run(work, durable=True)
        await plane.reload_roster()
        return await self.quota(request)

    async def _changes(self, request: Request) -> dict[str, int | None]:
        body = await decode(request, LimitChange, self._plane.settings.body_max)
        changes: dict[str, int | None] = msgspec.to_builtins(body)
        return changes


def _named(name: str, limits: Allowance) -> dict[str, object]:
    return {"name": name} | msgspec.structs.asdict(limits)
