"""The steps of the schema, on both databases."""

from __future__ import annotations

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, text

from control_plane.store.migrate import SchemaError, installed_at, migrate
from control_plane.store.schema import METADATA
from tests.control_plane.harness import NOW
from tests.support.cluster import ROOT


def difference(connection: Connection) -> list[object]:
    context = MigrationContext.configure(
        connection, opts={"compare_type": True, "compare_server_default": True}
    )
    return list(compare_metadata(context, METADATA))


def test_the_steps_lead_to_the_tables_of_the_schema(connection: Connection) -> None:
    assert difference(connection) == []
    connection.execute(text("ALTER TABLE audit ADD COLUMN more TEXT"))
    assert difference(connection) != []


def test_migrating_again_changes_nothing(connection: Connection) -> None:
    migrate(connection, NOW + 100)
    assert difference(connection) == []
    assert installed_at(connection) == NOW


def test_a_schema_of_the_future_is_refused(connection: Connection) -> None:
    connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(SchemaError, match="newer"):
        migrate(connection, NOW)


def test_an_installed_package_has_the_steps() -> None:
    # `packages.find` takes what is a package, so that a folder without this file is left out.
    steps = ROOT / "control_plane" / "store" / "migrations"
    assert (steps / "env.py").is_file()
    for step in steps.rglob("*.py"):
        assert (step.parent / "__init__.py").is_file()
