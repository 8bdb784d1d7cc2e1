"""What a user may be called."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Connection, create_engine

from control_plane.store.enrolment import add_user, free_name, plain_name
from control_plane.store.schema import METADATA
from control_plane.store.users import LOCAL_TIER, seed
from tests.control_plane.harness import API_KEY, NOW


@pytest.fixture(scope="module")
def connection() -> Iterator[Connection]:
    engine = create_engine("sqlite://")
    METADATA.create_all(engine)
    with engine.connect() as connection:
        seed(connection, API_KEY, NOW)
        yield connection
    engine.dispose()


@pytest.mark.parametrize(
    ("typed", "name"),
    [
        ("Ada", "ada"),
        (" ada ", "ada"),
        ("ada@example.org", "ada@example.org"),
        ("user_1", "user_1"),
        ("user_0123456789abcdef", None),
        ("", None),
        ("-ada", None),
        ("a b", None),
        ("ada\n", "ada"),
        ("ä", None),
        ("a" * 65, None),
    ],
)
def test_a_name_is_plain(typed: str, name: str | None) -> None:
    assert plain_name(typed) == name


@pytest.mark.parametrize(
    ("wish", "name"),
    [
        ("Ada L.", "ada-l."),
        ("local", "local-2"),
        ("user_0123456789abcdef", "user"),
        ("", "user"),
        ("...", "user"),
        ("Żółć", "user"),
    ],
)
def test_a_wish_becomes_a_name_that_is_free(connection: Connection, wish: str, name: str) -> None:
    assert free_name(connection, wish) == name


@given(st.text(max_size=300))
def test_whatever_is_wished_for_is_a_name(connection: Connection, wish: str) -> None:
    name = free_name(connection, wish)
    assert plain_name(name) == name


def test_the_same_wish_twice_is_two_names(connection: Connection) -> None:
    for expected in ("zoe", "zoe-2", "zoe-3"):
        name = free_name(connection, "Zoe")
        assert name == expected
        add_user(connection, name, tier=LOCAL_TIER, now=NOW)
