"""`/v1/sessions`: a user's conversations, to read, name, take along and delete."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial
from typing import Annotated, Final

import msgspec
from msgspec import Meta
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from contracts.policy import SCOPE_GENERATE
from contracts.problems import ProblemError
from control_plane.auth import require_scope
from control_plane.conversations import (
    Message,
    Position,
    Summary,
    chosen_title,
    cursor,
    is_conversation_id,
    markdown_head,
    markdown_message,
    position,
)
from control_plane.plane import Plane
from control_plane.routes.caller import identify_caller
from control_plane.store.conversations import Shelf, forget
from control_plane.web import decode, respond

LIMIT_MAX: Final = 200
_LIMIT: Final = 50
_PATH: Final = "/v1/sessions/{session_id}"


class NewTitle(msgspec.Struct, frozen=True):
    """Body of `PATCH /v1/sessions/{id}`."""

    title: Annotated[str, Meta(max_length=10_000)]


class Talks:
    """The routes of conversations over one plane."""

    def __init__(self, plane: Plane) -> None:
        self._plane = plane

    def routes(self) -> list[Route]:
        """All of them."""
        return [
            Route("/v1/sessions", self.newest, methods=["GET"]),
            Route(_PATH, self.read, methods=["GET"]),
            Route(_PATH, self.rename, methods=["PATCH"]),
            Route(_PATH, self.delete, methods=["DELETE"]),
            Route(f"{_PATH}/export", self.export, methods=["GET"]),
        ]

    async def newest(self, request: Request) -> Response:
        """`{sessions, next}`, newest first; `next` is the `before` of the page that follows."""
        user_id, shelf = self._owner(request), self._shelf()
        limit, before = _limit(request), position(request.query_params.get("before"), str)
        found = await self._plane.database.run(
            lambda c: shelf.newest(c, user_id, limit + 1, before)
        )
        page = found[:limit]
        last = page[-1] if len(found) > limit else None
        following = cursor(Position(last.updated_at, last.id)) if last else None
        return respond({"sessions": page, "next": following})

    async def read(self, request: Request) -> Response:
        """The conversation with its last messages; `before` leads to those before them."""
        user_id, shelf, session = self._owner(request), self._shelf(), _session(request)
        limit, before = _limit(request), position(request.query_params.get("before"), int)
        found = await self._plane.database.run(
            lambda c: (
                shelf.one(c, user_id, session),
                *shelf.latest_messages(c, user_id, session, limit, before),
            )
        )
        summary, messages, oldest = found
        if summary is None:
            raise _unknown()
        following = cursor(oldest) if oldest else None
        return respond(msgspec.to_builtins(summary) | {"messages": messages, "earlier": following})

    async def rename(self, request: Request) -> Response:
        """Takes `{title}`; 200 with the conversation as it is listed."""
        user_id, shelf, session = self._owner(request), self._shelf(), _session(request)
        body = await decode(request, NewTitle, self._plane.settings.body_max)
        title = chosen_title(body.title)
        summary = await self._plane.database.run(
            lambda c: (
                shelf.rename(c, user_id, session, title),
                shelf.one(c, user_id, session),
            )[1]
        )
        if summary is None:
            raise _unknown()
        return respond(summary)

    async def delete(self, request: Request) -> Response:
        """Removes the conversation from the database: 204."""
        user_id, session = self._owner(request), _session(request)
        now = self._plane.clock()
        if not await self._plane.database.run(
            lambda c: forget(c, user_id, session, now), durable=True
        ):
            raise _unknown()
        return Response(status_code=204)

    async def export(self, request: Request) -> Response:
        """All of a conversation as a file: `format` is `json` or `markdown`."""
        user_id, shelf, session = self._owner(request), self._shelf(), _session(request)
        kind = request.query_params.get("format", "json")
        if kind not in _WRITERS:
            raise ProblemError("invalid_request", "Formats are json, markdown.", field="format")
        summary = await self._plane.database.run(lambda c: shelf.one(c, user_id, session))
        if summary is None:
            raise _unknown()
        write, media_type, ending = _WRITERS[kind]
        headers = {
            "Cache-Control": "no-store",
            "Content-Disposition": f'attachment; filename="conversation.{ending}"',
            "X-Content-Type-Options": "nosniff",
        }
        pages = self._pages(shelf, user_id, session)
        return StreamingResponse(write(summary, pages), headers=headers, media_type=media_type)

    async def _pages(
        self, shelf: Shelf, user_id: str, session: str
    ) -> AsyncIterator[list[Message]]:
        """All messages, oldest first, a page at a time."""
        after: Position | None = None
        while True:
            page, after = await self._plane.database.run(
                partial(
                    shelf.messages_after,
                    user_id=user_id,
                    session=session,
                    limit=LIMIT_MAX,
                    after=after,
                )
            )
            yield page
            if after is None:
                return

    def _owner(self, request: Request) -> str:
        caller = identify_caller(request, self._plane)
        require_scope(caller, SCOPE_GENERATE)
        return caller.user_id

    def _shelf(self) -> Shelf:
        shelf = self._plane.shelf
        if shelf is None:
            raise ProblemError("not_found", "Conversations are not kept here.")
        return shelf


async def _as_json(summary: Summary, pages: AsyncIterator[list[Message]]) -> AsyncIterator[bytes]:
    head = msgspec.json.encode(summary)
    yield head[:-1] + b',"messages":['
    first = True
    async for page in pages:
        for message in page:
            yield (b"" if first else b",") + msgspec.json.encode(message)
            first = False
    yield b"]}\n"


async def _as_markdown(
    summary: Summary, pages: AsyncIterator[list[Message]]
) -> AsyncIterator[bytes]:
    yield markdown_head(summary).encode("utf-8", "replace")
    async for page in pages:
        for message in page:
            yield markdown_message(message).encode("utf-8", "replace")


_WRITERS: Final = {
    "json": (_as_json, "application/json", "json"),
    "markdown": (_as_markdown, "text/markdown; charset=utf-8", "md"),
}


def _session(request: Request) -> str:
    session: str = request.path_params["session_id"]
    if not is_conversation_id(session):
        raise _unknown()
    return session


def _limit(request: Request) -> int:
    given = request.query_params.get("limit", str(_LIMIT))
    if not (given.isascii() and given.isdigit() and len(given) <= 9 and int(given) > 0):
        raise ProblemError(
            "invalid_request", f"limit is a whole number from 1 to {LIMIT_MAX}.", field="limit"
        )
    return min(int(given), LIMIT_MAX)


def _unknown() -> ProblemError:
    return ProblemError("not_found", "You have no such conversation.")
