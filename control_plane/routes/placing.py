"""What brokers ask and tell of engines: whose turn it is, and which attempts have failed."""

from __future__ import annotations

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from contracts.grants import EngineReports, TurnAnswer
from contracts.problems import ProblemError
from control_plane.placing.placement import Job
from control_plane.placing.questions import Question
from control_plane.plane import Plane
from control_plane.settlements import check_name
from control_plane.web import decode, path_id, respond


class Placing:
    """These routes over one plane, each behind the service credential."""

    def __init__(self, plane: Plane) -> None:
        self._plane = plane

    async def turn(self, request: Request) -> Response:
        """Whether a job that waits may start: 200 TurnAnswer; 503 `overloaded` once it has
        waited for too long; 404 when no such grant is open."""
        plane, grant_id = self._plane, path_id(request, "grant_id")
        answer = plane.dispatcher.turn(grant_id, plane.clock())
        return respond(self._proven(answer or self._again(grant_id)))

    async def report(self, request: Request) -> Response:
        """Attempts at engines that have failed: 204. Of engines that nobody knows nothing is
        kept."""
        plane = self._plane
        body = await decode(request, EngineReports, plane.settings.body_max)
        now = plane.clock()
        for report in body.reports:
            check_name("node", report.node)
            known = plane.fleet.reported(report, now)
            if known and report.fault == "engine_unreachable":
                plane.poller.confirm(report.base_url)
        return Response(status_code=204)

    def _again(self, grant_id: str) -> TurnAnswer:
        """One that waited before this process began waits again, at the end."""
        plane = self._plane
        grant = plane.books.ledger.open_grant(grant_id)
        if grant is None or grant.model not in plane.dispatcher.rules.models:
            raise ProblemError("not_found", "No such grant is open; ask for a new one.")
        user = plane.roster.users().get(grant.user_id)
        tier = plane.rules.tier_name(user.tier if user else "")
        question = Question(grant=grant, model=grant.model, tier=tier, job=Job(), max_tokens=1)
        return plane.dispatcher.requeue(question, plane.clock())

    def _proven(self, answer: TurnAnswer) -> TurnAnswer:
        if answer.engine is None:
            return answer
        proven = self._plane.prober.proven
        return msgspec.structs.replace(
            answer,
            engine=proven(answer.engine),
            fallbacks=[proven(fallback) for fallback in answer.fallbacks],
        )
