"""Users and their keys, for the admin."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, UnsetType
from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from contracts.policy import SCOPES
from contracts.problems import ProblemError
from control_plane.auth import new_api_key
from control_plane.passwords import MOST, check_password
from control_plane.plane import Plane
from control_plane.routes.admin import done, find_user, guarded
from control_plane.store.audit import note
from control_plane.store.enrolment import (
    NAME_MAX,
    add_user,
    plain_name,
    set_disabled,
    set_password,
    set_tier,
)
from control_plane.store.keys import add_key, list_keys, owner_of_key, revoke_key
from control_plane.store.logins import end_everything_of
from control_plane.store.users import LOCAL_TIER, User
from control_plane.web import decode, path_id, plain_text, respond

Name = Annotated[str, Meta(max_length=NAME_MAX)]
Password = Annotated[str, Meta(max_length=MOST)]


class NewUser(msgspec.Struct, frozen=True):
    """Body of `POST /users`."""

    name: Name
    tier: Name = LOCAL_TIER
    password: Password | None = None

    def __repr__(self) -> str:
        return f"NewUser({self.name!r})"


class UserChange(msgspec.Struct, frozen=True):
    """Body of `PATCH /users/{user}`: what is to be another. A password of null: none."""

    tier: Name | UnsetType = UNSET
    disabled: bool | UnsetType = UNSET
    password: Password | UnsetType | None = UNSET

    def __repr__(self) -> str:
        return "UserChange(…)"


class NewKey(msgspec.Struct, frozen=True):
    """Body of `POST /users/{user}/keys`. `expires_at` in Unix seconds, null: never."""

    name: Annotated[str, Meta(max_length=100)] = ""
    scopes: list[str] | None = None
    expires_at: float | None = None


class AdminUsers:
    """The routes over one plane."""

    def __init__(self, plane: Plane) -> None:
        self._plane = plane

    def routes(self) -> list[Route]:
        """All of them. `{user}` is an id or a name."""
        return guarded(
            self._plane,
            [
                ("GET", "/users", self.list),
                ("POST", "/users", self.create),
                ("GET", "/users/{user}", self.show),
                ("PATCH", "/users/{user}", self.change),
                ("GET", "/users/{user}/keys", self.keys),
                ("POST", "/users/{user}/keys", self.create_key),
                ("DELETE", "/keys/{key_id}", self.revoke_key),
            ],
        )

    async def list(self, _: Request) -> Response:
        """Every user."""
        return respond({"users": list(self._plane.roster.users().values())})

    async def show(self, request: Request) -> Response:
        """One user."""
        return respond(self._user(request))

    async def create(self, request: Request) -> Response:
        """A new user."""
        plane = self._plane
        body = await decode(request, NewUser, plane.settings.body_max)
        name = plain_name(body.name)
        if name is None:
            raise ProblemError(
                "invalid_request",
                "A name has 1 to 64 of a-z 0-9 . _ @ + - and begins with a letter or digit.",
                field="name",
            )
        hashed = await self._hashed(body.password)

        def work(connection: Connection) -> str:
            user_id = add_user(connection, name, tier=body.tier, now=plane.clock(), password=hashed)
            note(connection, done(plane, "user.add", user_id, name=name, tier=body.tier))
            return user_id

        user_id = await plane.database.run(work, durable=True)
        await plane.reload_roster()
        return respond(plane.roster.user(user_id), status=201)

    async def change(self, request: Request) -> Response:
        """Another tier or password, locked out or let in. A new password ends every login."""
        plane, user = self._plane, self._user(request)
        body = await decode(request, UserChange, plane.settings.body_max)
        given = body.password if body.password is not UNSET else None
        hashed, now = await self._hashed(given), plane.clock()

        def work(connection: Connection) -> None:
            if body.tier is not UNSET:
                set_tier(connection, user.id, body.tier)
                note(connection, done(plane, "user.tier", user.id, tier=body.tier))
            if body.password is not UNSET:
                set_password(connection, user.id, hashed)
                end_everything_of(connection, user.id, now)
                note(connection, done(plane, "user.password", user.id))
            if body.disabled is not UNSET:
                set_disabled(connection, user.id, body.disabled, now)
                action = "user.disable" if body.disabled else "user.enable"
                note(connection, done(plane, action, user.id))

        await plane.database.run(work, durable=True)
        await plane.reload_roster()
        return respond(plane.roster.user(user.id))

    async def keys(self, request: Request) -> Response:
        """A user's keys that are not revoked, without the keys themselves."""
        user = self._user(request)
        records = await self._plane.database.run(lambda c: list_keys(c, user.id))
        return respond({"keys": records})

    async def create_key(self, request: Request) -> Response:
        """A new API key, shown this once."""
        plane, user, now = self._plane, self._user(request), self._plane.clock()
        body = await decode(request, NewKey, plane.settings.body_max)
        scopes = _known(body.scopes)
        if body.expires_at is not None and body.expires_at <= now:
            raise ProblemError(
                "invalid_request", "expires_at must be in the future.", field="expires_at"
            )
        key = new_api_key()

        def work(connection: Connection) -> object:
            record = add_key(
                connection,
                user.id,
                key,
                name=plain_text(body.name, "name"),
                scopes=scopes,
                expires_at=body.expires_at,
                now=now,
            )
            note(connection, done(plane, "key.add", record.id, user_id=user.id))
            return record

        record = await plane.database.run(work, durable=True)
        await plane.reload_roster()
        return respond({"key": key} | msgspec.to_builtins(record), status=201)

    async def revoke_key(self, request: Request) -> Response:
        """Ends any user's key."""
        plane, now, key_id = self._plane, self._plane.clock(), path_id(request, "key_id")

        def work(connection: Connection) -> bool:
            user_id = owner_of_key(connection, key_id)
            if user_id is None or not revoke_key(connection, user_id, key_id, now):
                return False
            note(connection, done(plane, "key.revoke", key_id, user_id=user_id))
            return True

        if not await plane.database.run(work, durable=True):
            raise ProblemError("not_found", "There is no such key.")
        await plane.reload_roster()
        return Response(status_code=204)

    def _user(self, request: Request) -> User:
        return find_user(self._plane, request.path_params["user"])

    async def _hashed(self, password: str | None) -> str | None:
        if password is None:
            return None
        check_password(password, "password")
        return await self._plane.passwords.hash(password)


def _known(scopes: list[str] | None) -> list[str]:
    wanted = list(SCOPES) if scopes is None else scopes
    if any(scope not in SCOPES for scope in wanted):
        raise ProblemError("invalid_request", f"Scopes are {', '.join(SCOPES)}.", field="scopes")
    return [scope for scope in SCOPES if scope in wanted]
