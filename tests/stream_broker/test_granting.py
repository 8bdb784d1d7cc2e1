from __future__ import annotations

from typing import Any

import pytest

from contracts.grants import Grant, GrantQuestion, GrantRequest
from contracts.problems import ProblemError
from stream_broker.authn import Principal
from stream_broker.control import ControlUnavailable
from stream_broker.granting import Granting
from stream_broker.policy import PolicyHolder
from tests.stream_broker.building import API_KEY, USER, grant
from tests.stream_broker.parts import Parts

ALICE = Principal(USER, "free", ("generate",), API_KEY)
QUESTION = GrantQuestion(model="small", kind="job", prompt_tokens_estimate=1)
FULL = ProblemError("too_many_streams", "no slot")


class Answering:
    """A control plane that answers so in turn, and the last for ever."""

    def __init__(self, *answers: Grant | Exception) -> None:
        self.answers = list(answers)
        self.told_of_ended: list[list[str]] = []

    @property
    def asked(self) -> int:
        return len(self.told_of_ended)

    async def grant(self, request: GrantRequest) -> Grant:
        self.told_of_ended.append(request.ended)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


class Place:
    """A broker's way of asking, and what it told of it."""

    def __init__(self, parts: Parts, control: Answering) -> None:
        known: Any = parts.control
        asked: Any = control
        self.policy = PolicyHolder(known, parts.monotonic, poll=2.0)
        self.told: list[str] = []
        self.ended: list[str] = []
        self.granting = Granting(
            parts.settings,
            "node",
            asked,
            self.policy,
            parts.clock,
            lambda outcome, _: self.told.append(outcome),
            lambda user_id: list(self.ended) if user_id == USER else [],
        )

    async def ask(self, running: int = 0) -> Grant:
        return await self.granting.ask(ALICE, QUESTION, lambda _: running)


async def test_a_slot_that_is_about_to_become_free_is_waited_for(parts: Parts) -> None:
    place = Place(parts, Answering(FULL, FULL, grant()))
    assert await place.ask() == grant()
    assert place.told == ["too_many_streams", "too_many_streams", "ok"]


async def test_what_has_ended_here_is_told_with_the_next_question(parts: Parts) -> None:
    control = Answering(FULL, FULL, grant())
    place = Place(parts, control)
    place.ended = ["lease_a"]
    assert await place.ask() == grant()
    assert control.told_of_ended == [[], ["lease_a"], ["lease_a"]]


async def test_who_has_too_many_streams_is_refused_in_the_end(parts: Parts) -> None:
    control = Answering(FULL)
    place = Place(parts, control)
    with pytest.raises(ProblemError, match="no slot"):
        await place.ask()
    assert control.asked == len(place.told) == 5


async def test_no_other_refusal_is_asked_about_again(parts: Parts) -> None:
    control = Answering(ProblemError("quota_exceeded", "used up"))
    place = Place(parts, control)
    with pytest.raises(ProblemError, match="used up"):
        await place.ask()
    assert (control.asked, place.told) == (1, ["quota_exceeded"])


async def test_a_broker_alone_counts_its_own_streams_and_asks_nobody_twice(parts: Parts) -> None:
    control = Answering(ControlUnavailable("away"))
    place = Place(parts, control)
    await place.policy.refresh()
    assert (await place.ask()).degraded_until is not None
    with pytest.raises(ProblemError) as refused:
        await place.ask(running=5)
    assert refused.value.code == "too_many_streams"
    assert (control.asked, place.told) == (2, ["alone", "too_many_streams"])
