"""Passwords: how they are kept, and that nobody waits for them in vain."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import argon2
import pytest

from contracts.problems import ProblemError
from control_plane.passwords import COST, Passwords, check_password


@pytest.fixture
def passwords() -> Iterator[Passwords]:
    made = Passwords(argon2.profiles.CHEAPEST)
    yield made
    made.close()


def test_the_cost_is_what_rfc_9106_recommends() -> None:
    assert (COST.type, COST.memory_cost, COST.time_cost) == (argon2.Type.ID, 65_536, 3)


async def test_a_password_opens_what_was_made_of_it(passwords: Passwords) -> None:
    kept = await passwords.hash("correct horse")
    assert kept.startswith("$argon2id$")
    assert "correct" not in kept
    assert await passwords.verify(kept, "correct horse")
    assert not await passwords.verify(kept, "correct horsf")
    assert await passwords.hash("correct horse") != kept


@pytest.mark.parametrize("kept", [None, "", "$argon2id$broken", "plain"])
async def test_where_there_is_none_nothing_opens(passwords: Passwords, kept: str | None) -> None:
    assert not await passwords.verify(kept, "nobody's password")
    assert not await passwords.verify(kept, "")


async def test_letters_are_the_same_however_they_are_composed(passwords: Passwords) -> None:
    assert await passwords.verify(await passwords.hash("Zoe\u0308 und Zoe\u0308"), "Zoë und Zoë")


async def test_any_text_can_be_tried(passwords: Passwords) -> None:
    kept = await passwords.hash("correct horse")
    for odd in ("\u0000", "\ud800", "x" * 10_000):
        assert not await passwords.verify(kept, odd)


async def test_one_of_another_cost_is_to_be_made_anew(passwords: Passwords) -> None:
    dearer = Passwords(argon2.profiles.PRE_21_2)
    try:
        assert passwords.is_outdated(await dearer.hash("correct horse"))
    finally:
        dearer.close()
    assert not passwords.is_outdated(await passwords.hash("correct horse"))


async def test_too_many_at_once_are_sent_away(passwords: Passwords) -> None:
    results = await asyncio.gather(
        *(passwords.verify(None, "x") for _ in range(50)), return_exceptions=True
    )
    refused = [result for result in results if isinstance(result, ProblemError)]
    assert 0 < len(refused) < 50
    assert {problem.code for problem in refused} == {"rate_limited"}


@pytest.mark.parametrize("password", ["", "too short", "x" * 1025])
def test_some_are_not_to_be_set(password: str) -> None:
    with pytest.raises(ProblemError) as refused:
        check_password(password, "new")
    assert refused.value.field == "new"
