"""What SQLite and PostgreSQL want done differently."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import URL, Connection, text
from sqlalchemy.exc import IntegrityError

from control_plane.store.engines import FILE_NAME, UrlError, postgres_url, sqlite_url
from tests.control_plane.store.conftest import connected


def test_a_one_machine_cluster_has_a_file(tmp_path: Path) -> None:
    assert sqlite_url(tmp_path).database == str(tmp_path / FILE_NAME)


def test_a_postgresql_is_spoken_to_by_our_driver() -> None:
    for given in ("postgresql://u:p@h:5432/n", "postgresql+psycopg2://u:p@h:5432/n"):
        url = postgres_url(given)
        assert url.render_as_string(hide_password=False) == "postgresql+psycopg://u:p@h:5432/n"


@pytest.mark.parametrize(
    "given", ["", "nonsense secret", "mysql://u:secret@h/n", "postgresql://u:secret@h", "sqlite://"]
)
def test_another_url_is_refused_without_being_quoted(given: str) -> None:
    with pytest.raises(UrlError) as caught:
        postgres_url(given)
    assert "secret" not in str(caught.value)


def test_a_reference_to_nothing_is_refused(connection: Connection) -> None:
    statement = text("INSERT INTO allowances (user_id) VALUES ('nobody')")
    with pytest.raises(IntegrityError):
        connection.execute(statement)


def test_a_server_that_is_cut_off_lets_go_of_what_it_was_asked(url: URL) -> None:
    with connected(url) as connection:
        if connection.dialect.name == "sqlite":
            pytest.skip("there is no server")
        for name in ("idle_in_transaction_session_timeout", "tcp_keepalives_idle"):
            assert str(connection.scalar(text(f"SHOW {name}"))) not in ("0", "")
