"""`/v1/keys`, `/v1/quota`: what a user sees and changes of its own account."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta
from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from contracts.policy import SCOPE_KEYS
from contracts.problems import ProblemError
from control_plane.allowance import SPANS, UNITS, ends_at
from control_plane.auth import Identity, check_scopes, new_api_key, require_scope
from control_plane.plane import Plane
from control_plane.routes.caller import identify_caller
from control_plane.store.audit import Entry, note
from control_plane.store.keys import KeyRecord, add_key, list_keys, revoke_key
from control_plane.web import decode, path_id, plain_text, respond


class NewKey(msgspec.Struct, frozen=True):
    """Body of `POST /v1/keys`. `expires_at` in Unix seconds, null: never."""

    name: Annotated[str, Meta(max_length=100)] = ""
    scopes: list[str] | None = None
    expires_at: float | None = None


class Account:
    """The routes of a user's account over one plane."""

    def __init__(self, plane: Plane) -> None:
        self._plane = plane

    def routes(self) -> list[Route]:
        """All of them."""
        return [
            Route("/v1/keys", self.create_key, methods=["POST"]),
            Route("/v1/keys", self.list_keys, methods=["GET"]),
            Route("/v1/keys/{key_id}", self.revoke_key, methods=["DELETE"]),
            Route("/v1/quota", self.quota, methods=["GET"]),
        ]

    async def create_key(self, request: Request) -> Response:
        """A new API key, shown this once. It opens nothing that its maker may not."""
        plane = self._plane
        caller = self._key_holder(request)
        wanted = await decode(request, NewKey, plane.settings.body_max)
        now = plane.clock()
        scopes = check_scopes(caller, wanted.scopes)
        expires_at = wanted.expires_at
        if expires_at is not None and expires_at <= now:
            raise ProblemError(
                "invalid_request", "expires_at must be in the future.", field="expires_at"
            )
        key = new_api_key()

        def work(connection: Connection) -> KeyRecord:
            record = add_key(
                connection,
                caller.user_id,
                key,
                name=plain_text(wanted.name, "name"),
                scopes=scopes,
                expires_at=expires_at,
                now=now,
            )
            made = Entry(at=now, actor=caller.user_id, action="key.add", subject=record.id)
            note(connection, made)
            return record

        record = await plane.database.run(work, durable=True)
        await plane.reload_roster()
        return respond({"key": key} | msgspec.to_builtins(record), status=201)

    async def list_keys(self, request: Request) -> Response:
        """The caller's keys that are not revoked, without the keys themselves."""
        caller = self._key_holder(request)
        records = await self._plane.database.run(lambda c: list_keys(c, caller.user_id))
        return respond({"keys": records})

    async def revoke_key(self, request: Request) -> Response:
        """Ends a key; brokers learn it with their next policy snapshot."""
        caller = self._key_holder(request)
        key_id, now = path_id(request, "key_id"), self._plane.clock()

        def work(connection: Connection) -> bool:
            revoked = revoke_key(connection, caller.user_id, key_id, now)
            if revoked:
                ended = Entry(at=now, actor=caller.user_id, action="key.revoke", subject=key_id)
                note(connection, ended)
            return revoked

        if not await self._plane.database.run(work, durable=True):
            raise ProblemError("not_found", "You have no such key.")
        await self._plane.reload_roster()
        return Response(status_code=204)

    async def quota(self, request: Request) -> Response:
        """What is taken now of what the caller may take. A limit of null: none."""
        plane = self._plane
        user_id, now = identify_caller(request, plane).user_id, plane.clock()
        allowance, ledger = plane.roster.allowance(user_id), plane.books.ledger
        answer: dict[str, object] = {
            "user_id": user_id,
            "streams": {"limit": allowance.streams, "in_use": ledger.live_streams(user_id, now)},
        }
        for unit in UNITS:
            answer[unit] = {
                span: {
                    "limit": allowance.limit(unit, span),
                    "taken": ledger.taken(user_id, unit, span, now),
                    "resets_at": ends_at(now, span),
                }
                for span in SPANS
            }
        return respond(answer)

    def _key_holder(self, request: Request) -> Identity:
        caller = identify_caller(request, self._plane)
        require_scope(caller, SCOPE_KEYS)
        return caller
