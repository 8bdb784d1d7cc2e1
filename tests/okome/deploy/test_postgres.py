"""The role `postgres` has a real PostgreSQL read its files anew, and only where they are newer."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import yaml

from tests.okome.deploy.putting import ROLES
from tests.support import postgres_server
from tests.support.eventually import eventually
from tests.support.postgres_server import PostgresServer

VARS = yaml.safe_load((ROLES / "postgres/vars/main.yml").read_text("utf-8"))
NAMES = """{{ postgres_read | join("','") }}"""
_HOUR_S = 3600


@pytest.fixture(name="server")
def server_fixture() -> Iterator[PostgresServer]:
    if reason := postgres_server.reason_to_skip():
        pytest.skip(reason)
    server = PostgresServer()
    server.start()
    yield server
    server.stop()


@pytest.fixture(name="files")
def files_fixture() -> Iterator[list[Path]]:
    """Where the server, which is another user, may look."""
    with tempfile.TemporaryDirectory(prefix="okome-postgres-") as place:
        Path(place).chmod(0o755)
        yield [Path(place, "okome.conf"), Path(place, "pg_hba.conf")]


def test_it_is_reloaded_where_a_file_is_newer_than_what_it_has_read(
    server: PostgresServer, files: list[Path]
) -> None:
    for each in files:
        each.touch()
        os.utime(each, (time.time() - _HOUR_S,) * 2)
    statement = VARS["postgres_reload"].replace(NAMES, "','".join(map(str, files)))
    address = f"host={server.host} port={server.port} user=okome dbname=postgres"
    with psycopg.connect(address, autocommit=True) as connection:

        def ask(text: str) -> list[tuple[object, ...]]:
            return connection.execute(text.encode()).fetchall()

        begun = ask("SELECT pg_conf_load_time()")
        assert ask(statement) == []
        assert ask("SELECT pg_conf_load_time()") == begun
        os.utime(files[1], (time.time() + _HOUR_S,) * 2)
        assert ask(statement) == [(True,)]
        assert eventually(lambda: ask("SELECT pg_conf_load_time()") != begun)
