"""Conversations grow by settlements: what was asked in a job, and what was answered."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Final

from sqlalchemy import Connection, Row, delete, func, insert, select, update
from sqlalchemy.exc import DBAPIError

from contracts.grants import Settlement
from control_plane.conversations import first_title, id_hash, is_conversation_id
from control_plane.sealing import TITLE, Place, Sealer
from control_plane.store.conversations import conversation_row, is_one, of_one
from control_plane.store.schema import conversations, forgotten, messages, users

log = logging.getLogger(__name__)

Keep = Callable[[Connection, Settlement, float], None]

# A conversation keeps its latest messages only, beyond this.
MESSAGES_MAX: Final = 10_000


def keep_nothing(_: Connection, __: Settlement, ___: float) -> None:
    """For a control plane without a data key."""


class Keeper:
    """Appends settled jobs to their conversations, sealed."""

    def __init__(self, sealer: Sealer) -> None:
        self._sealer = sealer

    def __call__(self, connection: Connection, settlement: Settlement, now: float) -> None:
        """`settlement` is the first of its job. A fault of ours here must not keep usage from
        being settled: it is logged. Raises DBAPIError."""
        if settlement.session_id is None:
            return
        try:
            with connection.begin_nested():
                self.keep(connection, settlement, now)
        except DBAPIError:
            raise
        except Exception:
            log.exception("%s: not kept in its conversation", settlement.job_id)

    def keep(self, connection: Connection, settlement: Settlement, now: float) -> bool:
        """Appends what was asked and answered.

        Returns False when there is nothing to keep: no usable id, a user that is not here, a
        conversation that was deleted while the job ran.
        """
        owner, session = settlement.user_id, settlement.session_id
        if session is None or not _has_content(settlement, session):
            return False
        if not _is_welcome(connection, settlement, session):
            return False
        known = conversation_row(connection, owner, session)
        if known is None:
            self._begin(connection, settlement, session, now)
        else:
            self._go_on(connection, settlement, known, now)
        highest = select(func.max(messages.c.number)).where(of_one(owner, session))
        rows = self._rows(settlement, session, connection.scalar(highest) or 0)
        connection.execute(insert(messages), rows)
        if rows[-1]["number"] > MESSAGES_MAX:
            _trim(connection, owner, session)
        return True

    def _begin(
        self, connection: Connection, settlement: Settlement, session: str, now: float
    ) -> None:
        connection.execute(
            insert(conversations).values(
                user_id=settlement.user_id,
                id=session,
                title=self._title(settlement, session),
                renamed=False,
                created_at=settlement.created_at,
                updated_at=min(settlement.ended_at, now),
            )
        )

    def _go_on(
        self, connection: Connection, settlement: Settlement, known: Row[Any], now: float
    ) -> None:
        updated_at = max(known.updated_at, min(settlement.ended_at, now))
        changes: dict[str, Any] = {"updated_at": updated_at}
        if settlement.created_at < known.created_at:
            # Its settlement was overtaken: this is where the conversation began.
            changes["created_at"] = settlement.created_at
            if not known.renamed:
                changes["title"] = self._title(settlement, known.id)
        which = is_one(settlement.user_id, known.id)
        connection.execute(update(conversations).where(which).values(**changes))

    def _title(self, settlement: Settlement, session: str) -> bytes:
        title = first_title(settlement.asked[0].text if settlement.asked else "")
        return self._sealer.seal(title, Place(settlement.user_id, session, TITLE))

    def _rows(self, settlement: Settlement, session: str, number: int) -> list[dict[str, Any]]:
        said: list[tuple[str, str, dict[str, str | None]]] = [
            (asked.role, asked.text, {"model": None, "outcome": None, "code": None})
            for asked in settlement.asked
        ]
        said.append(("assistant", settlement.final_text or "", _marks(settlement)))
        places = [Place(settlement.user_id, session, number + i) for i in range(1, len(said) + 1)]
        return [
            {
                "user_id": place.user_id,
                "conversation_id": session,
                "number": place.number,
                "role": role,
                "content": self._sealer.seal(text, place),
                "job_id": settlement.job_id,
                "created_at": settlement.created_at,
                **marks,
            }
            for place, (role, text, marks) in zip(places, said, strict=True)
        ]


def _has_content(settlement: Settlement, session: str) -> bool:
    said = bool(settlement.asked) or settlement.final_text is not None
    return said and is_conversation_id(session)


def _is_welcome(connection: Connection, settlement: Settlement, session: str) -> bool:
    owner = settlement.user_id
    if connection.scalar(select(users.c.id).where(users.c.id == owner)) is None:
        return False
    deleted_at = connection.scalar(
        select(forgotten.c.deleted_at).where(
            forgotten.c.user_id == owner, forgotten.c.conversation_hash == id_hash(session)
        )
    )
    return deleted_at is None or settlement.created_at > deleted_at


def _marks(settlement: Settlement) -> dict[str, str | None]:
    outcome = settlement.outcome if settlement.final_text is not None else "lost"
    return {"model": settlement.model, "outcome": outcome, "code": settlement.code}


def _trim(connection: Connection, user_id: str, session: str) -> None:
    kept = connection.scalar(select(func.count()).where(of_one(user_id, session))) or 0
    if kept <= MESSAGES_MAX:
        return
    columns = messages.c
    oldest = (
        select(columns.number)
        .where(of_one(user_id, session))
        .order_by(columns.created_at, columns.number)
        .limit(kept - MESSAGES_MAX)
    )
    numbers = connection.scalars(oldest).all()
    which = of_one(user_id, session)
    connection.execute(delete(messages).where(which, columns.number.in_(numbers)))
