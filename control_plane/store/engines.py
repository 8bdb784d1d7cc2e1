"""What SQLite and PostgreSQL want done differently; everything else is the same SQL."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import psycopg
from sqlalchemy import Connection, Engine, Table, Transaction, create_engine, event, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.pool import QueuePool

FILE_NAME: Final = "control-plane.sqlite3"
_DRIVER: Final = "postgresql+psycopg"
# Any number, the same for all control planes.
_ONE_WRITER: Final = 0x6F6B6F6D65
_WAITED_TOO_LONG: Final = ("55P03", "57014")  # lock_timeout, statement_timeout
_DURABLE: Final = text("SET LOCAL synchronous_commit = on")
_READING: Final = {"default_transaction_read_only": "on"}
_WRITING: Final = {
    "synchronous_commit": "off",  # but for durable transactions
    # Every statement goes by a key. What is prepared while a table is empty would read all
    # of it later on.
    "enable_seqscan": "off",
    "jit": "off",
}


class UrlError(Exception):
    """The database's URL cannot be used. Says why without quoting it: it has a password."""


def sqlite_url(directory: Path) -> URL:
    """The database of a one-machine cluster, a file in `directory`."""
    return URL.create("sqlite", database=str(directory / FILE_NAME))


def postgres_url(given: str) -> URL:
    """`postgresql://user:password@host:port/name` with our driver. Raises UrlError."""
    try:
        url = make_url(given)
    except ArgumentError as error:
        raise UrlError("expected postgresql://USER:PASSWORD@HOST:PORT/NAME") from error
    if url.get_backend_name() != "postgresql" or not url.database:
        raise UrlError("expected postgresql://USER:PASSWORD@HOST:PORT/NAME")
    return url.set(drivername=_DRIVER)


def make_engine(
    url: URL, timeout_s: float, *, reading: bool = False, beside: bool = False
) -> Engine:
    """An engine with one connection, which is opened at the first use and anew when lost.

    `timeout_s` bounds each statement. `reading`: it cannot write, and waits for no writer.
    `beside`: a control plane may work with it at the same time, so nothing but the schema may
    be changed.
    """
    if url.get_backend_name() == "sqlite":
        return _sqlite(url, timeout_s, reading)
    engine = _postgres(url, timeout_s, _READING if reading else _WRITING)
    if not (reading or beside):
        event.listen(engine, "connect", _be_the_only_one)
    return engine


def make_syncing_engine(url: URL, timeout_s: float) -> Engine:
    """One of a PostgreSQL whose commits wait for the disk; it writes nothing of its own."""
    return _postgres(url, timeout_s, {})


@contextmanager
def transaction(connection: Connection, durable: bool) -> Iterator[Transaction]:
    """A transaction whose commit survives this process; if `durable`, with PostgreSQL also a
    loss of power. SQLite's file is synced beside the transactions (`syncing.py`).

    What is not committed when the block ends is rolled back.
    """
    begun = connection.begin()
    try:
        if connection.dialect.name == "postgresql" and durable:
            connection.execute(_DURABLE)
        yield begun
    finally:
        begun.close()


def is_lost(connection: Connection, error: Exception) -> bool:
    """Has the whole transaction gone, so that nothing in it can go on?"""
    if connection.invalidated:
        return True
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return True
    if connection.dialect.name == "sqlite":
        # A full disk makes SQLite roll back by itself, unseen by SQLAlchemy.
        raw: Any = connection.connection.dbapi_connection
        return not raw.in_transaction
    return False


def insert_into(connection: Connection, table: Table) -> Any:
    """An `INSERT` that can say `ON CONFLICT`, which both have but SQLAlchemy's own has not."""
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    return dialect.insert(table)


def _postgres(url: URL, timeout_s: float, chosen: Mapping[str, str]) -> Engine:
    milliseconds = max(1, int(timeout_s * 1000))
    options = {
        "statement_timeout": milliseconds,
        "lock_timeout": milliseconds,
        **chosen,
        # What a session of ours that was cut off holds must not stand in our own way for long.
        "idle_in_transaction_session_timeout": 10_000,
        "tcp_keepalives_idle": 5,
        "tcp_keepalives_interval": 2,
        "tcp_keepalives_count": 3,
    }
    engine = create_engine(
        url,
        poolclass=QueuePool,
        pool_size=1,
        max_overflow=0,
        hide_parameters=True,
        connect_args={
            "connect_timeout": max(2, int(timeout_s)),
            "options": " ".join(f"-c {name}={value}" for name, value in options.items()),
            "application_name": "okome-control-plane",
            "keepalives_idle": 5,
            "tcp_user_timeout": 5000,
            # The driver must not begin transactions by itself: it would ask twice for what
            # is one statement.
            "autocommit": True,
        },
    )

    @event.listens_for(engine, "begin")
    def _begun(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN")

    return engine


def _be_the_only_one(connection: psycopg.Connection, _: object) -> None:
    """The ledger in memory is of use only while nobody else writes (ADR 12). The lock is
    that of the session, and goes with it; the one before may take a moment to go."""
    try:
        connection.execute("SELECT pg_advisory_lock(%s)", (_ONE_WRITER,))
        connection.commit()
    except psycopg.OperationalError as error:
        connection.close()
        if error.sqlstate in _WAITED_TOO_LONG:
            raise psycopg.OperationalError("another control plane works with it") from error
        raise


def _sqlite(url: URL, timeout_s: float, reading: bool) -> Engine:
    engine = create_engine(
        url,
        poolclass=QueuePool,
        pool_size=1,
        max_overflow=0,
        hide_parameters=True,
        connect_args={"timeout": timeout_s, "check_same_thread": False},
    )

    @event.listens_for(engine, "connect")
    def _connected(connection: Any, _: Any) -> None:
        # The driver must not begin transactions by itself: ours begin as writers.
        connection.isolation_level = None
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute(f"PRAGMA query_only = {'ON' if reading else 'OFF'}")

    @event.listens_for(engine, "begin")
    def _begun(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")

    return engine
