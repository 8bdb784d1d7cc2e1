"""Brings a database to the newest schema, by the steps in `migrations/versions/`."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import Connection, insert, select, text

from control_plane.store.schema import installation

_STEPS: Final = Path(__file__).with_name("migrations")


class SchemaError(Exception):
    """The database was written by a newer version of this program."""


def migrate(connection: Connection, now: float) -> None:
    """All steps that are missing, in one transaction of the caller's. Raises SchemaError."""
    config = Config()
    config.set_main_option("script_location", str(_STEPS))
    config.attributes["connection"] = connection
    if connection.dialect.name == "postgresql":
        # A step may take longer than a call may, and must not be lost afterwards.
        connection.execute(text("SET LOCAL statement_timeout = 0"))
        connection.execute(text("SET LOCAL synchronous_commit = on"))
    try:
        command.upgrade(config, "head")
    except CommandError as error:
        raise SchemaError(
            "its schema has a step that this program does not know;"
            " start the version that wrote it, or a newer one"
        ) from error
    if connection.scalar(select(installation.c.created_at)) is None:
        connection.execute(insert(installation).values(id=1, created_at=now))


def installed_at(connection: Connection) -> float:
    """When this database was first set up, Unix seconds."""
    return float(connection.scalars(select(installation.c.created_at)).one())
