"""The policy that holds, and what another one would change, for the admin."""

from __future__ import annotations

import asyncio
from typing import Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from control_plane.plane import Plane
from control_plane.policy_changes import changes, shown
from control_plane.policy_document import PolicyDocument
from control_plane.routes.admin import guarded
from control_plane.web import decode, respond
from inventory.faults import FaultsError
from inventory.yaml_tree import TEXT_MAX

# A control character is six bytes of JSON.
_BODY_MAX: Final = 6 * TEXT_MAX + 4096


class OtherPolicy(msgspec.Struct, frozen=True):
    """The text of a policy file, and what messages are to call it."""

    file: str
    text: str


class AdminPolicy:
    """The routes over one plane."""

    def __init__(self, plane: Plane) -> None:
        self._plane = plane

    def routes(self) -> list[Route]:
        """All of them."""
        return guarded(
            self._plane,
            [("GET", "/policy", self.policy), ("POST", "/policy/diff", self.difference)],
        )

    async def policy(self, _: Request) -> Response:
        """What holds, where it is from and since when; what is wrong with the file now."""
        plane, source = self._plane, self._plane.policy
        return respond(
            {
                "version": plane.rules.version,
                "source": None if source.path is None else str(source.path),
                "taken_at": source.taken_at,
                "age_s": max(0.0, plane.clock() - source.taken_at),
                "refused_at": source.refused_at,
                "faults": source.refused,
                "policy": shown(plane.rules.document),
            }
        )

    async def difference(self, request: Request) -> Response:
        """What would change with another file; nothing does. `faults`: why it cannot be used."""
        body = await decode(request, OtherPolicy, _BODY_MAX)
        rules = self._plane.rules
        try:
            other = await asyncio.to_thread(self._read, body)
        except FaultsError as error:
            return respond({"against": rules.version, "faults": error.lines(), "changes": []})
        found = changes(rules.document, other)
        return respond({"against": rules.version, "faults": [], "changes": found})

    def _read(self, other: OtherPolicy) -> PolicyDocument:
        return self._plane.policy.examine(other.text.encode(), other.file)
