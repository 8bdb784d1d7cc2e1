"""Single statements of PostgreSQL for what every job needs: a grant, and its settlement.

Each takes its rows as one JSON parameter and is prepared once, so that it costs one round
trip and little of this process, however many rows there are. Done twice they do no more
than done once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import msgspec
import psycopg
from sqlalchemy import Connection, Table
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import DBAPIError

from control_plane.store.schema import grants, settlements


def run_statement(
    connection: Connection, statement: str, **rows: Sequence[Any]
) -> list[tuple[Any, ...]]:
    """Runs it past SQLAlchemy, in the transaction that has been begun or else by itself;
    what it returns. Raises DBAPIError as SQLAlchemy would."""
    raw: Any = connection.connection.dbapi_connection
    parameters = {name: msgspec.json.encode(given).decode() for name, given in rows.items()}
    try:
        cursor = raw.execute(statement, parameters, prepare=True)
        found: list[tuple[Any, ...]] = cursor.fetchall()
    except psycopg.Error as error:
        lost = bool(raw.closed)
        if lost:
            connection.invalidate()
        raise _as_told(error, parameters, lost) from error
    return found


def _as_told(error: psycopg.Error, parameters: Mapping[str, str], lost: bool) -> Any:
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
