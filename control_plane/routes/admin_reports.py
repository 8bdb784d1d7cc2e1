"""Usage, live logins, the audit log and the signing keys, for the admin."""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Final

from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from contracts.problems import ProblemError
from control_plane.allowance import ends_at, period_of
from control_plane.credentials import Credentials, CredentialsError
from control_plane.plane import Plane
from control_plane.routes.admin import (
    asked_number,
    asked_text,
    asked_user,
    done,
    find_user,
    guarded,
)
from control_plane.signing import Signer
from control_plane.store.audit import list_audit, note
from control_plane.store.export import UsageSum, added, usage_jobs, usage_sums
from control_plane.store.logins import end_everything_of, end_login, live_logins
from control_plane.web import path_id, respond

_MONTH: Final = re.compile(r"(\d{4})-(0[1-9]|1[0-2])")
_PAGE_MAX: Final = 1000
_DAY_S: Final = 86_400


class AdminReports:
    """The routes over one plane. `reread` reads the credentials anew."""

    def __init__(self, plane: Plane, reread: Callable[[], Credentials] | None) -> None:
        self._plane = plane
        self._reread = reread

    def routes(self) -> list[Route]:
        """All of them. `{user}` is an id or a name."""
        return guarded(
            self._plane,
            [
                ("GET", "/usage", self.usage),
                ("GET", "/usage/jobs", self.usage_jobs),
                ("GET", "/logins", self.logins),
                ("DELETE", "/logins/{login_id}", self.end_login),
                ("DELETE", "/users/{user}/logins", self.end_logins),
                ("GET", "/audit", self.audit),
                ("POST", "/signing-keys/reload", self.reload_keys),
            ],
        )

    async def usage(self, request: Request) -> Response:
        """Sums of a month (`?month=2026-11`, UTC; now's by default) per user and model."""
        month, start, end = self._month(request)
        user_id = asked_user(self._plane, request)
        sums: list[UsageSum] = []
        # Day by day: one long question would hold up the grants behind it.
        while start < end:
            of_day = partial(usage_sums, start=start, end=start + _DAY_S, user_id=user_id)
            sums = added(sums, await self._plane.database.run(of_day))
            start += _DAY_S
        return respond({"month": month, "usage": sums})

    async def usage_jobs(self, request: Request) -> Response:
        """The same job by job, `limit` at a time. `next`: what to send as `after` for more."""
        month, start, end = self._month(request)
        user_id, after = asked_user(self._plane, request), _after(request)
        most = asked_number(request, "limit", _PAGE_MAX, _PAGE_MAX)
        jobs = await self._plane.database.run(
            lambda c: usage_jobs(c, start, end, user_id, after, most)
        )
        more = len(jobs) == most
        following = f"{jobs[-1].created_at!r}:{jobs[-1].job_id}" if more else None
        return respond({"month": month, "jobs": jobs, "next": following})

    async def logins(self, request: Request) -> Response:
        """Browsers that are signed in, of all users or of `?user=`."""
        user_id, now = asked_user(self._plane, request), self._plane.clock()
        found = await self._plane.database.run(lambda c: live_logins(c, now, user_id))
        return respond({"logins": found})

    async def end_login(self, request: Request) -> Response:
        """Ends one."""
        plane, login_id, now = self._plane, path_id(request, "login_id"), self._plane.clock()

        def work(connection: Connection) -> bool:
            ended = end_login(connection, login_id, now)
            if ended:
                note(connection, done(plane, "login.end", login_id))
            return ended

        if not await plane.database.run(work, durable=True):
            raise ProblemError("not_found", "There is no such login.")
        await plane.reload_roster()
        return Response(status_code=204)

    async def end_logins(self, request: Request) -> Response:
        """Ends every login and token of a user; its keys stay."""
        plane, now = self._plane, self._plane.clock()
        user = find_user(plane, request.path_params["user"])

        def work(connection: Connection) -> int:
            ended = end_everything_of(connection, user.id, now)
            note(connection, done(plane, "login.end", user.id, count=ended))
            return ended

        ended = await plane.database.run(work, durable=True)
        await plane.reload_roster()
        return respond({"ended": ended})

    async def audit(self, request: Request) -> Response:
        """The newest lines first; `before=` the last id seen for more, `actor=`, `action=`."""
        plane = self._plane
        most = asked_number(request, "limit", 100, _PAGE_MAX)
        before = asked_number(request, "before", 1 << 53, 1 << 53)
        await plane.keep_tally()
        lines = await plane.database.run(
            lambda c: list_audit(
                c,
                before=before,
                actor=asked_text(request, "actor"),
                action=asked_text(request, "action"),
                most=most,
            )
        )
        return respond({"audit": lines})

    async def reload_keys(self, _: Request) -> Response:
        """Reads the signing keys anew; brokers have them with their next policy snapshot."""
        plane = self._plane
        if self._reread is None:
            raise ProblemError("not_found", "The credentials come from no directory.")
        try:
            fresh = await asyncio.to_thread(self._reread)
        except CredentialsError as error:
            raise ProblemError("invalid_request", f"{error}.") from error
        plane.signer = Signer(fresh.session_key, fresh.other_session_keys)
        kids = [jwk["kid"] for jwk in plane.signer.jwks]
        await plane.database.run(
            lambda c: note(c, done(plane, "signing-keys.reload", plane.signer.kid, kids=kids))
        )
        return respond(
            {"signs": plane.signer.kid, "accepted": kids, "token_ttl_s": plane.settings.session_ttl}
        )

    def _month(self, request: Request) -> tuple[str, float, float]:
        now = self._plane.clock()
        text = request.query_params.get("month", period_of(now, "month"))
        matched = _MONTH.fullmatch(text)
        if matched is None or not 1970 <= int(matched[1]) <= 9998:
            raise ProblemError("invalid_request", "A month is like 2026-11.", field="month")
        start = datetime(int(matched[1]), int(matched[2]), 1, tzinfo=UTC).timestamp()
        return text, start, ends_at(start, "month")


def _after(request: Request) -> tuple[float, str] | None:
    text = request.query_params.get("after")
    if text is None:
        return None
    at, _, job_id = text.partition(":")
    try:
        moment = float(at)
    except ValueError:
        moment = math.nan
    if not math.isfinite(moment) or "\0" in job_id:
        raise ProblemError("invalid_request", "Send what `next` said.", field="after")
    return moment, job_id
