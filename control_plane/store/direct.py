"""A server's connection without a thread: one prepared statement at a time, in the event loop.

A thread and the loop that share a core hand over to each other twice for each statement, and
whoever is waked up waits until the other has used up its time. Of grants that a server answered
in 0.7 ms one in ten heard of it 5 to 7 ms later (`bench.grants`, 500 a second on one core).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec
import psycopg
from psycopg.pq.abc import PGresult

from control_plane.store.statements import Query, Rows, checked, numbered, rows_of

Tell = Callable[[Rows | psycopg.Error], None]


class Direct:
    """The connection of one thread, while that leaves it alone."""

    def __init__(self, raw: psycopg.Connection, prepared: Mapping[str, bytes]) -> None:
        self.raw: Final = raw
        self._prepared = prepared
        self._broken = False
        self._answer: PGresult | None = None
        self._tell: Tell | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._socket = -1

    def knows(self, query: Query[Any]) -> bool:
        """Has the server prepared it, as far as is known?"""
        return query.statement in self._prepared and not self.lost

    @property
    def asking(self) -> bool:
        """An answer is still to come."""
        return self._tell is not None

    @property
    def lost(self) -> bool:
        """The connection is of no more use; what was asked last may have been done."""
        return self._broken or bool(self.raw.closed)

    def ask(self, loop: asyncio.AbstractEventLoop, query: Query[Any], tell: Tell) -> None:
        """Sends what it `knows`, and calls `tell` with the answer, never before it returns.
        Until then it must not be asked again, nor anybody use the connection."""
        self._tell, self._answer = tell, None
        try:
            _, names = numbered(query.statement)
            parameters = [msgspec.json.encode(query.rows[name]) for name in names]
            self._watch(loop)
            self.raw.pgconn.send_query_prepared(self._prepared[query.statement], parameters)
            if self.raw.pgconn.flush():
                loop.add_writer(self._socket, self._writable)
        except Exception as error:
            # Whatever it is, the thread meets it too, and tells the caller.
            loop.call_soon(self._break, psycopg.OperationalError(str(error)))

    def leave(self) -> None:
        """Hears nothing of the connection any more, until it is asked again: somebody else is
        to use it. Whoever still waits for an answer is told that none came."""
        if self._loop is not None:
            # By the number that it had: the driver may have closed it.
            self._loop.remove_reader(self._socket)
            self._loop.remove_writer(self._socket)
            self._loop = None
        if self.asking:
            self._broken = True
            self._end(psycopg.OperationalError("the server did not answer in time"))

    def _watch(self, loop: asyncio.AbstractEventLoop) -> None:
        """Also between two questions: to begin and to end it costs more than an answer."""
        if self._loop is None:
            self._socket = self.raw.pgconn.socket
            loop.add_reader(self._socket, self._readable)
            self._loop = loop

    def _writable(self) -> None:
        try:
            if not self.raw.pgconn.flush() and self._loop is not None:
                self._loop.remove_writer(self._socket)
        except psycopg.Error as error:
            self._break(error)

    def _readable(self) -> None:
        connection = self.raw.pgconn
        try:
            connection.consume_input()
            if not self.asking:
                return
            while not connection.is_busy():
                result = connection.get_result()
                if result is None:
                    break
                self._answer = result
            else:
                return
        except psycopg.Error as error:
            self._break(error)
            return
        self._end(self._read())

    def _read(self) -> Rows | psycopg.Error:
        if self._answer is None:
            return psycopg.OperationalError("the server sent no answer")
        try:
            return rows_of(checked(self._answer))
        except psycopg.Error as error:
            return error

    def _break(self, error: psycopg.Error) -> None:
        self._broken = True
        if self.asking:
            self._end(error)
        else:
            self.leave()

    def _end(self, answer: Rows | psycopg.Error) -> None:
        tell, self._tell, self._answer = self._tell, None, None
        if tell is not None:
            if self._broken:
                self.leave()
            tell(answer)
