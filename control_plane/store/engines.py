"""What SQLite and PostgreSQL want done differently; everything else is the same SQL."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, Engine, Table, Transaction, create_engine, event, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.pool import QueuePool

FILE_NAME: Final = "control-plane.sqlite3"
_DRIVER: Final = "postgresql+psycopg"


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


def make_engine(url: URL, timeout_s: float) -> Engine:
    """An engine with one connection, which is opened at the first use and anew when lost."""
    if url.get_backend_name() == "sqlite":
        return _sqlite(url, timeout_s)
    milliseconds = max(1, int(timeout_s * 1000))
    return create_engine(
        url,
        poolclass=QueuePool,
        pool_size=1,
        max_overflow=0,
        pool_pre_ping=False,
        hide_parameters=True,
        connect_args={
            "connect_timeout": max(2, int(timeout_s)),
            "options": f"-c statement_timeout={milliseconds} -c lock_timeout={milliseconds}",
            "application_name": "okome-control-plane",
            "keepalives_idle": 5,
            "tcp_user_timeout": 5000,
        },
    )


@contextmanager
def transaction(connection: Connection, durable: bool) -> Iterator[Transaction]:
    """A transaction whose commit survives this process; if `durable`, with PostgreSQL also a
    loss of power. SQLite's file is synced beside the transactions (`syncing.py`)."""
    with connection.begin() as begun:
        if connection.dialect.name == "postgresql" and not durable:
            connection.execute(text("SET LOCAL synchronous_commit = off"))
        yield begun


def insert_into(connection: Connection, table: Table) -> Any:
    """An `INSERT` that can say `ON CONFLICT`, which both have but SQLAlchemy's own has not."""
    if connection.dialect.name == "postgresql":
        return postgresql.insert(table)
    return sqlite.insert(table)


def _sqlite(url: URL, timeout_s: float) -> Engine:
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

    @event.listens_for(engine, "begin")
    def _begun(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine
