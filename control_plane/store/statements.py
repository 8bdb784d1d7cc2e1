"""Single statements of PostgreSQL for what every job needs: a grant, its renewals, its settlement.

Each takes its rows as one JSON parameter and is prepared once, so that it costs one round
trip and little of this process, however many rows there are. Done twice they do no more
than done once.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, Final, Generic, TypeVar

import msgspec
import psycopg
from psycopg.pq import ExecStatus
from psycopg.pq.abc import PGresult
from sqlalchemy import Connection, Table
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import DBAPIError

from control_plane.store.schema import grants, settlements

T = TypeVar("T")
Rows = list[tuple[str, ...]]

_NAMED: Final = re.compile(r"%\((\w+)\)s")
PREPARED: Final = "okome: statement -> its name on the server"

# `ids` of grants whose slots are held until the one time in `until`.
RENEW: Final = """
    WITH renewed AS (
        UPDATE grants SET lease_until = (%(until)s::json ->> 0)::double precision
        WHERE id = ANY(ARRAY(SELECT json_array_elements_text(%(ids)s::json)))
        RETURNING id
    )
    SELECT count(*) FROM renewed
"""


class Query(msgspec.Struct, Generic[T], frozen=True, eq=False):
    """One statement, harmless when it is done twice. `rows`, and what it returns: see
    `run_statement`; `read` makes the result of that."""

    statement: str
    rows: Mapping[str, Sequence[Any]]
    read: Callable[[Rows], T]


def run_query(connection: Connection, query: Query[T]) -> T:
    """Its result. Raises DBAPIError."""
    return query.read(run_statement(connection, query.statement, query.rows))


def run_statement(
    connection: Connection, statement: str, rows: Mapping[str, Sequence[Any]]
) -> Rows:
    """Runs it past SQLAlchemy and the driver's cursors, in the transaction that has been begun or
    else by itself; what it returns, as text, NULL as an empty one. `%(name)s` in it stands for
    `rows` of that name as JSON. Raises DBAPIError as SQLAlchemy would.

    It takes half of the CPU time of the driver's own way, and waits for the server once without
    Python's lock where that does several times.
    """
    raw: Any = connection.connection.dbapi_connection
    parameters = {name: msgspec.json.encode(given) for name, given in rows.items()}
    text, names = numbered(statement)
    try:
        prepared: dict[str, bytes] = connection.connection.info.setdefault(PREPARED, {})
        if statement not in prepared:
            name = b"okome_%d" % len(prepared)
            checked(raw.pgconn.prepare(name, text))
            prepared[statement] = name
        result = raw.pgconn.exec_prepared(prepared[statement], [parameters[name] for name in names])
        return rows_of(checked(result))
    except psycopg.Error as error:
        lost = bool(raw.closed)
        if lost:
            connection.invalidate()
        raise as_told(error, parameters, lost) from error


@cache
def numbered(statement: str) -> tuple[bytes, tuple[str, ...]]:
    """As the server wants the statement, `$1` for the first name, and the names in order."""
    names = tuple(dict.fromkeys(_NAMED.findall(statement)))
    return _NAMED.sub(lambda found: f"${names.index(found[1]) + 1}", statement).encode(), names


def checked(result: PGresult) -> PGresult:
    """Raises psycopg.Error for what is no result."""
    if result.status not in (ExecStatus.TUPLES_OK, ExecStatus.COMMAND_OK):
        raise psycopg.errors.error_from_result(result)
    return result


def rows_of(result: PGresult) -> Rows:
    """See `run_statement`."""
    columns = range(result.nfields)
    return [
        tuple(bytes(result.get_value(row, column) or b"").decode() for column in columns)
        for row in range(result.ntuples)
    ]


def as_told(error: psycopg.Error, parameters: Mapping[str, bytes], lost: bool) -> Any:
    """The DBAPIError that SQLAlchemy makes of it; `lost`: the connection is of no more use."""
    return DBAPIError.instance(
        None,
        dict(parameters),
        error,
        psycopg.Error,
        hide_parameters=True,
        connection_invalidated=lost,
    )


@cache
def add_grants_statement() -> str:
    """`rows`: the fields of OpenGrant."""
    names = ", ".join(column.name for column in grants.columns)
    return f"""
        INSERT INTO grants ({names})
        SELECT {names} FROM json_to_recordset(%(rows)s::json) AS given({_record(grants)})
        ON CONFLICT (id) DO NOTHING
        RETURNING id
    """  # noqa: S608  # names of our own columns


@cache
def settle_statement() -> str:
    """`rows`: the columns of settlements, `used` tokens and the `periods` they count for;
    each job once. `ended`: ids of grants. Returns the jobs that were not there before."""
    names = ", ".join(column.name for column in settlements.columns)
    record = f"{_record(settlements)}, used BIGINT, periods TEXT[]"
    return f"""
        WITH given AS (
            SELECT * FROM json_to_recordset(%(rows)s::json) AS given({record})
        ), logged AS (
            INSERT INTO settlements ({names}) SELECT {names} FROM given
            ON CONFLICT DO NOTHING
            RETURNING job_id
        ), added AS (
            INSERT INTO usage (user_id, period, requests, tokens)
            SELECT user_id, period, count(*), sum(used)
            FROM given JOIN logged USING (job_id), unnest(periods) AS period
            GROUP BY user_id, period
            ON CONFLICT (user_id, period) DO UPDATE
            SET requests = usage.requests + excluded.requests,
                tokens = usage.tokens + excluded.tokens
        ), over AS (
            DELETE FROM grants
            WHERE id = ANY(ARRAY(SELECT json_array_elements_text(%(ended)s::json)))
        )
        SELECT job_id FROM logged
    """  # noqa: S608  # names of our own columns


def _record(table: Table) -> str:
    dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
    return ", ".join(f"{c.name} {c.type.compile(dialect)}" for c in table.columns)
