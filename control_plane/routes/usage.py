"""`/v1/usage`: what a user has used, in sums or job by job."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from contracts.problems import ProblemError
from control_plane.allowance import period_of
from control_plane.plane import Plane
from control_plane.routes.caller import identify_caller
from control_plane.store.account_usage import UsedJob, usage_by_day, usage_by_model, used_jobs
from control_plane.usage_export import Export, export_as, format_of, month_bounds
from control_plane.web import respond

_DAYS_SHOWN_S: Final = 30 * 86_400.0
# A page is one statement, and what is held in memory of an export.
PAGE: Final = 1000


class Usage:
    """The routes of a user's usage over one plane."""

    def __init__(self, plane: Plane) -> None:
        self._plane = plane

    def routes(self) -> list[Route]:
        """All of them."""
        return [Route("/v1/usage", self.usage, methods=["GET"])]

    async def usage(self, request: Request) -> Response:
        """Requests and tokens per model since the beginning of the usage log, and per day
        of the last 31; with `month` every job of that month, as `format` says."""
        user_id = identify_caller(request, self._plane).user_id
        month, form = _single(request, "month"), _single(request, "format")
        if month is not None:
            return await self._month(user_id, month, form or "json")
        if form is not None:
            raise ProblemError("invalid_request", "format goes with month.", field="month")
        since = period_of(self._plane.clock() - _DAYS_SHOWN_S, "day")
        models, days = await self._plane.database.read(
            lambda c: (usage_by_model(c, user_id), usage_by_day(c, user_id, since))
        )
        return respond({"user_id": user_id, "models": models, "days": days})

    async def _month(self, user_id: str, month: str, form: str) -> Response:
        """The first page is read before the answer begins: a store that is away is a 503. Later
        ones can only cut it short, before its tail."""
        bounds = month_bounds(month)
        export = export_as(format_of(form), user_id, month)
        first = await self._page(user_id, bounds, None)
        return StreamingResponse(
            self._pieces(user_id, bounds, export, first),
            media_type=export.media_type,
            headers={
                "Cache-Control": "no-store",
                "Content-Disposition": f'attachment; filename="okome-usage-{month}.{form}"',
            },
        )

    async def _pieces(
        self,
        user_id: str,
        bounds: tuple[float, float],
        export: Export,
        page: list[UsedJob],
    ) -> AsyncIterator[bytes]:
        yield export.head()
        while True:
            yield export.page(page)
            if len(page) < PAGE:
                break
            page = await self._page(user_id, bounds, page[-1])
        yield export.tail()

    async def _page(
        self, user_id: str, bounds: tuple[float, float], after: UsedJob | None
    ) -> list[UsedJob]:
        return await self._plane.database.read(
            lambda c: used_jobs(c, user_id, *bounds, after=after, most=PAGE)
        )


def _single(request: Request, name: str) -> str | None:
    """A query parameter, None without it. Raises ProblemError `invalid_request`."""
    values = request.query_params.getlist(name)
    if len(values) > 1:
        raise ProblemError("invalid_request", f"{name} may be given once.", field=name)
    return values[0] if values else None
