"""Leave to do something: the control plane's, or while it is away the last policy's."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import msgspec

from contracts.grants import Grant, GrantQuestion, GrantRequest
from contracts.problems import ProblemError
from inventory.settings import Settings
from stream_broker.authn import Principal
from stream_broker.control import ControlClient, ControlUnavailable
from stream_broker.degraded import grant_alone
from stream_broker.policy import PolicyHolder

Told = Callable[[str, float], object]

# Leases of a user's jobs that have ended here and are not settled yet.
Ended = Callable[[str], list[str]]

# An answer holds its slot until the control plane has heard of its end, some time after its
# client has. Who asks for the next one at once has not asked for more than its due: so before it
# is refused the question is repeated, with what has ended here, and, for what has ended at
# another broker, after each of these (seconds).
_SLOT_PAUSES_S: Final = (0.02, 0.06, 0.16, 0.4)


class Granting:
    """Asks for the broker on `node`; `clock` gives Unix seconds.

    `told` hears of each question what became of it, `ok`, `alone` (the control plane was
    away) or a code, and after how many seconds; `ended` is asked where a slot is lacking.
    """

    def __init__(
        self,
        settings: Settings,
        node: str,
        control: ControlClient,
        policy: PolicyHolder,
        clock: Callable[[], float],
        told: Told = lambda *_: None,
        ended: Ended = lambda _: [],
    ) -> None:
        self._settings = settings
        self._node = node
        self._control = control
        self._policy = policy
        self._clock = clock
        self._told = told
        self._ended = ended

    async def ask(
        self,
        principal: Principal,
        question: GrantQuestion,
        running: Callable[[str], int],
        traceparent: str | None = None,
    ) -> Grant:
        """A grant. `running`: counts a user's streams here, which is all that this broker can
        count by itself. Raises ProblemError; `too_many_streams` after 0.64 s, for a slot may
        be about to become free."""
        request = GrantRequest(
            credential=principal.credential,
            request=question,
            node=self._node,
            traceparent=traceparent,
        )
        began = time.monotonic()
        try:
            return await self._with_a_slot(request, principal.user_id)
        except ControlUnavailable as error:
            with self._telling("alone", began):
                return self._alone(principal, question, running, error)

    async def _with_a_slot(self, request: GrantRequest, user_id: str) -> Grant:
        for pause in _SLOT_PAUSES_S:
            try:
                return await self._once(request)
            except ProblemError as problem:
                if problem.code != "too_many_streams":
                    raise
            if not set(self._ended(user_id)).difference(request.ended):
                await asyncio.sleep(pause)
            request = msgspec.structs.replace(request, ended=self._ended(user_id))
        return await self._once(request)

    async def _once(self, request: GrantRequest) -> Grant:
        with self._telling("ok", time.monotonic()):
            return await self._control.grant(request)

    @contextmanager
    def _telling(self, well: str, began: float) -> Iterator[None]:
        outcome: str | None = "left"
        try:
            yield
            outcome = well
        except ProblemError as problem:
            outcome = problem.code
            raise
        except ControlUnavailable:
            outcome = None  # the question goes on without it
            raise
        finally:
            if outcome is not None:
                self._told(outcome, time.monotonic() - began)

    def _alone(
        self,
        principal: Principal,
        question: GrantQuestion,
        running: Callable[[str], int],
        error: ControlUnavailable,
    ) -> Grant:
        if question.server_tools:
            raise ProblemError(
                "control_plane_unavailable", "Tools cannot be called while it is away"
            ) from error
        left = self._settings.degraded_for - self._policy.age
        if left <= 0:
            raise ProblemError(
                "control_plane_unavailable", "No new jobs while the control plane is away"
            ) from error
        return grant_alone(
            self._policy.snapshot,
            question,
            user_id=principal.user_id,
            tier=principal.tier,
            grant_id=os.urandom(8).hex(),
            until=self._clock() + left,
            running=running(principal.user_id),
        )
