"""Conversations as the database has them: sealed, in order, each its owner's alone.

A conversation's id is its owner's own choice, so it is always asked for with the owner.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, Final

from sqlalchemy import Connection, Row, Select, and_, delete, func, or_, select, update

from control_plane.conversations import Message, Position, Summary, id_hash
from control_plane.sealing import TITLE, Place, Sealer, SealError
from control_plane.store.engines import insert_into
from control_plane.store.schema import conversations, forgotten, messages

log = logging.getLogger(__name__)

# What one page of messages may hold, sealed bytes; a message that is larger stands alone.
PAGE_BYTES: Final = 2 << 20
# A settlement may wait in a broker's spool for as long, and then still find out that its
# conversation was deleted.
FORGOTTEN_FOR_S: Final = 30 * 86_400.0
# Conversations that one pruning removes: bounds how long others wait for it.
_PRUNED_MAX: Final = 200


class Shelf:
    """Reads and names conversations; `keeping.py` writes what was said. Every function takes
    the connection of a transaction."""

    def __init__(self, sealer: Sealer) -> None:
        self._sealer = sealer

    def rename(self, connection: Connection, user_id: str, session: str, title: str) -> bool:
        """Gives a title for good; False when the user has no such conversation."""
        place = Place(user_id, session, TITLE)
        changed = connection.execute(
            update(conversations)
            .where(is_one(user_id, session))
            .values(title=self._sealer.seal(title, place), renamed=True)
        )
        return bool(changed.rowcount)

    def newest(
        self, connection: Connection, user_id: str, limit: int, before: Position | None
    ) -> list[Summary]:
        """A user's conversations, the one that went on last first."""
        columns = conversations.c
        wanted = select(conversations).where(columns.user_id == user_id)
        if before is not None:
            wanted = wanted.where(_precedes(columns.updated_at, columns.id, before))
        ordered = wanted.order_by(columns.updated_at.desc(), columns.id.desc()).limit(limit)
        return [self._summary(row) for row in connection.execute(ordered)]

    def one(self, connection: Connection, user_id: str, session: str) -> Summary | None:
        """One conversation of a user's."""
        row = conversation_row(connection, user_id, session)
        return None if row is None else self._summary(row)

    def latest_messages(
        self,
        connection: Connection,
        user_id: str,
        session: str,
        limit: int,
        before: Position | None = None,
    ) -> tuple[list[Message], Position | None]:
        """The last messages before a position, oldest first, and the position of the oldest
        where there are more. At most `limit`, and PAGE_BYTES."""
        columns = messages.c
        wanted = _measured(user_id, session).order_by(
            columns.created_at.desc(), columns.number.desc()
        )
        if before is not None:
            wanted = wanted.where(_precedes(columns.created_at, columns.number, before))
        return self._page(connection, user_id, session, wanted, limit)

    def messages_after(
        self,
        connection: Connection,
        user_id: str,
        session: str,
        limit: int,
        after: Position | None = None,
    ) -> tuple[list[Message], Position | None]:
        """The first messages after a position, and the position of the last where there are
        more. Bounded as `latest_messages`."""
        columns = messages.c
        wanted = _measured(user_id, session).order_by(columns.created_at, columns.number)
        if after is not None:
            wanted = wanted.where(_follows(columns.created_at, columns.number, after))
        return self._page(connection, user_id, session, wanted, limit)

    def _page(
        self, connection: Connection, user_id: str, session: str, wanted: Select[Any], limit: int
    ) -> tuple[list[Message], Position | None]:
        found = connection.execute(wanted.limit(limit + 1)).all()
        page = list(islice(_fitting(found), limit))
        read = self._read(connection, user_id, session, [row.number for row in page])
        more = len(found) > len(page)
        last = Position(page[-1].created_at, page[-1].number) if page and more else None
        return read, last

    def _read(
        self, connection: Connection, user_id: str, session: str, numbers: Sequence[int]
    ) -> list[Message]:
        columns = messages.c
        rows = connection.execute(
            select(messages)
            .where(of_one(user_id, session), columns.number.in_(numbers))
            .order_by(columns.created_at, columns.number)
        )
        return [
            Message(
                role=row.role,
                text=self._opened(row.content, Place(user_id, session, row.number)),
                job_id=row.job_id,
                created_at=row.created_at,
                model=row.model,
                outcome=row.outcome,
                code=row.code,
            )
            for row in rows
        ]

    def _summary(self, row: Row[Any]) -> Summary:
        return Summary(
            id=row.id,
            title=self._opened(row.title, Place(row.user_id, row.id, TITLE)),
            created_at=row.created_at,
            updated_at=row.updated_at,
        )

    def _opened(self, sealed: bytes, place: Place) -> str | None:
        try:
            return self._sealer.open(sealed, place)
        except SealError as error:
            log.error("number %d of a conversation cannot be opened: %s", place.number, error)
            return None


def forget(connection: Connection, user_id: str, session: str, now: float) -> bool:
    """Removes a conversation for good; False when the user has none like it."""
    connection.execute(delete(messages).where(of_one(user_id, session)))
    gone = connection.execute(delete(conversations).where(is_one(user_id, session))).rowcount
    if gone:
        statement = insert_into(connection, forgotten).values(
            user_id=user_id, conversation_hash=id_hash(session), deleted_at=now
        )
        connection.execute(
            statement.on_conflict_do_update(
                index_elements=["user_id", "conversation_hash"], set_={"deleted_at": now}
            )
        )
    return bool(gone)


def prune_conversations(connection: Connection, keep_s: float, now: float) -> None:
    """Removes what has not gone on for `keep_s`, a number at a time; 0 keeps for ever."""
    connection.execute(delete(forgotten).where(forgotten.c.deleted_at < now - FORGOTTEN_FOR_S))
    if not keep_s:
        return
    columns = conversations.c
    old = connection.execute(
        select(columns.user_id, columns.id)
        .where(columns.updated_at < now - keep_s)
        .order_by(columns.updated_at)
        .limit(_PRUNED_MAX)
    ).all()
    for user_id, session in old:
        connection.execute(delete(messages).where(of_one(user_id, session)))
        connection.execute(delete(conversations).where(is_one(user_id, session)))


def conversation_row(connection: Connection, user_id: str, session: str) -> Row[Any] | None:
    """The row of one conversation."""
    return connection.execute(select(conversations).where(is_one(user_id, session))).first()


def is_one(user_id: str, session: str) -> Any:
    """Selects one conversation."""
    return and_(conversations.c.user_id == user_id, conversations.c.id == session)


def of_one(user_id: str, session: str) -> Any:
    """Selects the messages of one conversation."""
    return and_(messages.c.user_id == user_id, messages.c.conversation_id == session)


def _measured(user_id: str, session: str) -> Select[Any]:
    columns = messages.c
    size = func.length(columns.content).label("bytes")
    return select(columns.created_at, columns.number, size).where(of_one(user_id, session))


def _follows(at: Any, key: Any, position: Position) -> Any:
    return or_(at > position.at, and_(at == position.at, key > position.key))


def _precedes(at: Any, key: Any, position: Position) -> Any:
    return or_(at < position.at, and_(at == position.at, key < position.key))


def _fitting(rows: Sequence[Row[Any]]) -> Iterator[Row[Any]]:
    room = PAGE_BYTES
    for index, row in enumerate(rows):
        room -= row.bytes
        if room < 0 and index:
            return
        yield row
