"""`/healthz`, `/readyz`, `/metrics`."""

from __future__ import annotations

from sqlalchemy import Connection, select
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from contracts.problems import ProblemError
from control_plane.placing.telling import tell
from control_plane.plane import Plane
from control_plane.store.schema import users
from control_plane.web import respond


class Operations:
    """The routes of whoever runs the process, over one plane."""

    def __init__(self, plane: Plane) -> None:
        self._plane = plane

    def routes(self) -> list[Route]:
        """All of them."""
        return [
            Route("/healthz", self.alive, methods=["GET"]),
            Route("/readyz", self.ready, methods=["GET"]),
            Route("/metrics", self.metrics, methods=["GET"]),
        ]

    async def alive(self, _: Request) -> Response:
        """The process answers."""
        return respond({"status": "ok"})

    async def ready(self, request: Request) -> Response:
        """The store answers too, else 503. Engines do not count: a grant tells of them; nor
        does a policy file that is refused: the one before holds.

        They do for `?engines=up`, which a launcher asks before it says that all is ready.
        """
        await self._plane.database.run(_nothing)
        if request.query_params.get("engines") == "up":
            self._check_engines()
        refused = self._plane.policy.refused
        return respond({"status": "ready"} | ({"policy_refused": refused} if refused else {}))

    def _check_engines(self) -> None:
        """Raises ProblemError `no_engine` while one is down, or still to be probed."""
        for url, state in self._plane.engines.states.items():
            if not state.healthy:
                raise ProblemError("no_engine", f"{url} does not answer")
        for engine in self._plane.prober.untried:
            raise ProblemError("no_engine", f"{engine.base_url} is being probed")

    async def metrics(self, request: Request) -> Response:
        """The exposition of `control_plane/metrics.py`."""
        plane = self._plane
        plane.metrics.leases_live.set(plane.books.ledger.all_live_streams(plane.clock()))
        tell(plane.dispatcher, plane.metrics, plane.clock())
        body, media = plane.metrics.exposition(request.headers.get("accept", ""))
        return Response(body, headers={"Content-Type": media})


def _nothing(connection: Connection) -> None:
    connection.execute(select(users.c.id).limit(1))
