"""The disks behind the two kinds of database."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Final

from sqlalchemy import URL, Connection
from sqlalchemy.exc import DBAPIError

from control_plane.store.engines import make_syncing_engine
from control_plane.store.statements import run_statement
from control_plane.store.syncing import SyncError

log = logging.getLogger(__name__)

_LOG_SUFFIX: Final = "-wal"
# The least that is written to the log, and read by nobody.
_FLUSH: Final = "SELECT pg_logical_emit_message(true, 'okome', '')"


class FileDisk:
    """The write-ahead log of one SQLite database. SQLite's `synchronous = FULL` is a sync of
    it within each commit."""

    def __init__(self, database: Path) -> None:
        self._log = database.with_name(database.name + _LOG_SUFFIX)
        self._fd: int | None = None

    def mark(self) -> object:
        """See Disk: a file is always there."""
        return self

    def forget(self) -> None:
        """See Disk: it is the same file."""

    def prepare(self) -> None:
        """See Disk."""

    def sync(self) -> object:
        """See Disk."""
        try:
            if self._fd is not None and os.fstat(self._fd).st_nlink == 0:
                # The database was closed and opened anew in between.
                self.close()
            if self._fd is None:
                self._fd = self._open()
            os.fdatasync(self._fd)
        except OSError as error:
            raise SyncError(str(error)) from error
        return self

    def close(self) -> None:
        """See Disk."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _open(self) -> int:
        """The log, whose entry in the directory is kept for good too. While the database is
        open SQLite writes to this one file."""
        directory = os.open(self._log.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
        return os.open(self._log, os.O_RDONLY)


class ServerDisk:
    """The disk of a PostgreSQL, which a commit that waits for it syncs for all before it.

    The connection is the mark: while it lives the server has not gone down, so that what was
    committed on another one since it was made is in the log that is synced.
    """

    def __init__(self, url: URL, timeout_s: float) -> None:
        self._engine = make_syncing_engine(url, timeout_s)
        self._connection: Connection | None = None
        self._trusted = False

    def mark(self) -> object | None:
        """See Disk."""
        return self._connection if self._trusted else None

    def forget(self) -> None:
        """See Disk."""
        self._trusted = False

    def prepare(self) -> None:
        """See Disk."""
        if self._trusted:
            return
        self._drop()
        try:
            self._connection = self._engine.connect()
        except DBAPIError as error:
            log.warning("the store syncs within its commits: %s", " ".join(str(error.orig).split()))
        else:
            self._trusted = True

    def sync(self) -> object:
        """See Disk."""
        connection = self._connection
        if connection is None:
            raise SyncError("the server does not answer")
        try:
            run_statement(connection, _FLUSH, {})
        except DBAPIError as error:
            self._trusted = False
            raise SyncError(" ".join(str(error.orig).split())) from error
        return connection

    def close(self) -> None:
        """See Disk."""
        self._trusted = False
        self._drop()
        self._engine.dispose()

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.invalidate()
            connection.close()
