"""Leave to do something: the control plane's, or while it is away the last policy's."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from contracts.grants import Grant, GrantQuestion, GrantRequest
from contracts.problems import ProblemError
from inventory.settings import Settings
from stream_broker.authn import Principal
from stream_broker.control import ControlClient, ControlUnavailable
from stream_broker.degraded import grant_alone
from stream_broker.policy import PolicyHolder

Told = Callable[[str, float], object]


class Granting:
    """Asks for the broker on `node`; `clock` gives Unix seconds.

    `told` hears of each question what became of it, `ok`, `alone` (the control plane was
    away) or a code, and after how many seconds.
    """

    def __init__(
        self,
        settings: Settings,
        node: str,
        control: ControlClient,
        policy: PolicyHolder,
        clock: Callable[[], float],
        told: Told = lambda *_: None,
    ) -> None:
        self._settings = settings
        self._node = node
        self._control = control
        self._policy = policy
        self._clock = clock
        self._told = told

    async def ask(
        self,
        principal: Principal,
        question: GrantQuestion,
        running: int,
        traceparent: str | None = None,
    ) -> Grant:
        """A grant. `running`: the caller's streams here, which is all that this broker can
        count by itself. Raises ProblemError."""
        request = GrantRequest(
            credential=principal.credential,
            request=question,
            node=self._node,
            traceparent=traceparent,
        )
        began, outcome = time.monotonic(), "left"
        try:
            grant = await self._ask(principal, request, running)
            outcome = "ok" if grant.degraded_until is None else "alone"
            return grant
        except ProblemError as problem:
            outcome = problem.code
            raise
        finally:
            self._told(outcome, time.monotonic() - began)

    async def _ask(self, principal: Principal, request: GrantRequest, running: int) -> Grant:
        question = request.request
        try:
            return await self._control.grant(request)
        except ControlUnavailable as error:
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
                running=running,
            )
