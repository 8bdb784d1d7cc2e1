"""The engines as they are, and taking them out, for the admin."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from contracts.problems import ProblemError
from control_plane.placing.overview import overview
from control_plane.plane import Plane
from control_plane.routes.admin import done, guarded
from control_plane.store.audit import note
from control_plane.store.drained import all_drained, drain, resume
from control_plane.web import respond


class AdminEngines:
    """The routes over one plane."""

    def __init__(self, plane: Plane) -> None:
        self._plane = plane

    def routes(self) -> list[Route]:
        """All of them. `{engine}` is a name of the inventory."""
        return guarded(
            self._plane,
            [
                ("GET", "/engines", self.engines),
                ("POST", "/engines/{engine:path}/drain", self.drain),
                ("POST", "/engines/{engine:path}/resume", self.resume),
            ],
        )

    async def engines(self, _: Request) -> Response:
        """Every engine: health, load, breakers, what its models can."""
        return respond({"engines": self._overview()})

    async def drain(self, request: Request) -> Response:
        """No new job goes there; those that run end in peace."""
        return await self._change(request, drained=True)

    async def resume(self, request: Request) -> Response:
        """Jobs go there again."""
        return await self._change(request, drained=False)

    async def _change(self, request: Request, *, drained: bool) -> Response:
        plane, name, now = self._plane, request.path_params["engine"], self._plane.clock()
        if name not in {entry["name"] for entry in self._overview()}:
            raise ProblemError("not_found", "There is no such engine.")

        def work(connection: Connection) -> list[str]:
            if drained:
                drain(connection, name, now)
            else:
                resume(connection, name)
            note(connection, done(plane, "engine.drain" if drained else "engine.resume", name))
            return list(all_drained(connection))

        plane.fleet.set_drained(await plane.database.run(work, durable=True))
        plane.dispatcher.tick(now)
        (engine,) = [entry for entry in self._overview() if entry["name"] == name]
        return respond(engine)

    def _overview(self) -> list[dict[str, Any]]:
        plane = self._plane
        proven, states = plane.prober.proven, plane.engines.states
        return overview(plane.dispatcher, states, proven, plane.clock())
