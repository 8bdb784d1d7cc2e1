"""The policy snapshot as this broker last saw it, and the poll that keeps it fresh."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from contracts.grants import EngineTarget, Grant
from contracts.policy import PolicyModel, PolicySnapshot
from contracts.problems import ProblemError
from contracts.tokens import PublicKeys, load_public_keys
from stream_broker.control import ControlClient, ControlUnavailable
from stream_broker.offers import find_model
from stream_broker.policy_file import Moment, PolicyFile, Stamp, now
from stream_broker.spread import OTHER

_LOG = logging.getLogger(__name__)


class PolicyHolder:
    """Holds the snapshot, on disk too where there is a `file`; `monotonic` gives seconds.

    Begins with what the last process of this broker kept, as old as it is by now.
    """

    def __init__(
        self,
        control: ControlClient,
        monotonic: Callable[[], float],
        *,
        poll: float,
        file: PolicyFile | None = None,
        moment: Callable[[], Moment] = now,
    ) -> None:
        self._control = control
        self._monotonic = monotonic
        self._poll = poll
        self._file = file
        self._moment = moment
        self._etag: str | None = None
        self._snapshot: PolicySnapshot | None = None
        self.public_keys: PublicKeys = {}
        self.revoked: frozenset[str] = frozenset()
        self._polled_at = float("-inf")
        self._tried_at = float("-inf")
        self._trouble = ""
        self._asking = asyncio.Lock()
        self._restore()

    @property
    def ready(self) -> bool:
        """Is there a snapshot, however old?"""
        return self._snapshot is not None

    @property
    def snapshot(self) -> PolicySnapshot:
        """The last snapshot. Raises ProblemError when there never was one."""
        if self._snapshot is None:
            raise ProblemError("control_plane_unavailable", "No policy has arrived yet")
        return self._snapshot

    @property
    def age(self) -> float:
        """Seconds since the control plane last answered a poll."""
        return self._monotonic() - self._polled_at

    def model(self, name: str) -> PolicyModel | None:
        """A model by its public name or an alias."""
        return find_model(self.snapshot, name)

    def named(self, name: str) -> str:
        """The public name of the model that `name` means; OTHER where there is none."""
        found = find_model(self._snapshot, name) if self._snapshot else None
        return found.id if found else OTHER

    def targets(self, grant: Grant) -> list[EngineTarget]:
        """The engines of a grant, with what has been proven of them since."""
        models = self._snapshot.models if self._snapshot else []
        proven = {
            _address(engine): engine
            for model in models
            for engine in model.engines
            if engine.continues
        }
        return [proven.get(_address(engine), engine) for engine in grant.targets]

    async def refresh(self) -> bool:
        """Polls once. Returns whether the control plane answered."""
        asked_at = self._monotonic()
        try:
            fresh = await self._control.policy(self._etag)
        except (ControlUnavailable, ProblemError) as error:
            self._trouble = str(error)
            return False
        if asked_at < self._polled_at:
            # Overtaken by a later question, whose answer is the newer one.
            return True
        if fresh is not None:
            self._take(*fresh)
        self._polled_at = asked_at
        return True

    async def refresh_once(self) -> None:
        """Returns after a poll that began no earlier than this call, answered or not.

        Many who ask at once share one, so unknown credentials cannot flood anybody.
        """
        asked_at = self._monotonic()
        async with self._asking:
            if max(self._polled_at, self._tried_at) < asked_at:
                self._tried_at = self._monotonic()
                await self.refresh()

    def _take(self, snapshot: PolicySnapshot, etag: str) -> bool:
        """Keeps a snapshot, and in their ready form what every request needs of it."""
        try:
            self.public_keys = load_public_keys(snapshot.public_keys)
        except ValueError as error:
            _LOG.error("the policy snapshot is refused: %s", error)
            return False
        self.revoked = frozenset(snapshot.revoked)
        self._snapshot, self._etag = snapshot, etag
        return True

    def _restore(self) -> None:
        kept = self._file.load() if self._file is not None else None
        if kept is not None and self._take(kept.snapshot, kept.stamp.etag):
            age = self._moment().since(kept.stamp.at)
            self._polled_at = self._monotonic() - age
            _LOG.info("begun with the policy that was kept, %.0f s old", age)

    async def _keep(self) -> None:
        if self._file is None or self._snapshot is None or self._etag is None:
            return
        stamp = Stamp(etag=self._etag, at=self._moment().before(self.age))
        await asyncio.to_thread(self._file.keep, self._snapshot, stamp)

    async def run(self) -> None:
        """Polls until cancelled; says once when the control plane goes and comes."""
        answered = True
        while True:
            now_answers = await self.refresh()
            if now_answers != answered:
                told = "answers again" if now_answers else f"is away: {self._trouble}"
                _LOG.warning("the control plane %s", told)
                answered = now_answers
            if now_answers:
                await self._keep()
            # Until the first snapshot there is nothing to serve with: ask more often.
            await asyncio.sleep(self._poll if self.ready else min(self._poll, 0.1))


def _address(engine: EngineTarget) -> tuple[str, str, str]:
    return engine.kind, engine.base_url, engine.model
