"""Finds a job wherever it lives: relayed here, in this memory, or in the shared log.

To anyone but its owner a job does not exist (CONTRACT, promise 6).
"""

from __future__ import annotations

from functools import partial

from contracts.problems import ProblemError
from inventory.model import Durability
from stream_broker.followers import Followers
from stream_broker.ids import Home, home_of
from stream_broker.live import LiveJob
from stream_broker.log.base import EventLog
from stream_broker.log.memory import MemoryLog
from stream_broker.log.redis import RedisLog
from stream_broker.playout import Playout
from stream_broker.record import JobState
from stream_broker.running import Runner
from stream_broker.watch import Watch
from stream_broker.window import Window

_TEXT_READ = 256 << 10


class Directory:
    """Looks jobs up for their owners."""

    def __init__(
        self,
        home: Home,
        runner: Runner,
        memory: MemoryLog,
        redis: RedisLog | None,
        followers: Followers | None,
        playout: Playout,
    ) -> None:
        self._home = home
        self._runner = runner
        self._memory = memory
        self._redis = redis
        self._followers = followers
        self._playout = playout

    async def state(self, job_id: str, user_id: str) -> JobState:
        """The job as far as it may be shown.

        Raises ProblemError `unknown_job` or `not_here`, and LogUnavailable.
        """
        state = await self._find(job_id)
        if state is None:
            home = home_of(job_id)
            if home is not None and home != self._home and self._redis is None:
                raise ProblemError(
                    "not_here", f"The job lives on {home} only", extra={"home": str(home)}
                )
        if state is None or state.head.user_id != user_id:
            raise ProblemError("unknown_job", "No such job")
        return state

    async def watch(self, job_id: str, user_id: str, cursor: int) -> Watch:
        """A viewer's hold on the job, from `cursor` on.

        Raises ProblemError `unknown_job`, `not_here`, `log_expired` or `bad_cursor`,
        and LogUnavailable.
        """
        state = await self.state(job_id, user_id)
        if state.log_expired:
            raise ProblemError("log_expired", "The log of this job has expired")
        if cursor > state.last_seq:
            raise ProblemError("bad_cursor", f"The log ends at {state.last_seq}", field="cursor")
        live = self._relayed_here(job_id)
        log = self._log(state.head.durability)
        if live is not None:
            self._runner.viewer_joined(live)
            self._playout.pace(live.window, state.head.grant.pacing)
            left = partial(self._runner.viewer_left, live)
            return Watch(state, live.window, log, cursor, left)
        if state.end_name is not None or log is self._memory or self._followers is None:
            window = Window(0, state.last_seq)
            window.ended = True
            return Watch(state, window, log, cursor, _nothing)
        followers = self._followers
        window = followers.open(job_id, state.last_seq, state.head.grant.limits.detach_grace_s)
        self._playout.pace(window, state.head.grant.pacing)
        return Watch(state, window, log, cursor, partial(followers.close, job_id))

    async def text(self, state: JobState) -> str | None:
        """The answer so far, out of the durable log; None once it has expired."""
        if state.log_expired:
            return None
        log = self._log(state.head.durability)
        parts: list[str] = []
        cursor = 0
        while cursor < state.last_seq:
            events = await log.read(state.head.job_id, cursor, _TEXT_READ)
            if not events:
                return None
            parts.extend(
                event.body()["token"]
                for event in events
                if event.seq <= state.last_seq and event.name == "token"
            )
            cursor = events[-1].seq
        return "".join(parts)

    async def cancel(self, state: JobState) -> None:
        """Cancels a job on behalf of its owner, wherever its relay is."""
        if state.end_name is not None:
            return
        if not self._runner.cancel(state.head.job_id, "client") and self._redis is not None:
            await self._redis.request_cancel(state.head.job_id, "client")

    def _log(self, durability: Durability) -> EventLog:
        if durability == "none" or self._redis is None:
            return self._memory
        return self._redis

    def _relayed_here(self, job_id: str) -> LiveJob | None:
        """The job's relay, unless another broker has it already."""
        live = self._runner.jobs.get(job_id)
        return None if live is None or live.window.moved else live

    async def _find(self, job_id: str) -> JobState | None:
        live = self._relayed_here(job_id)
        if live is not None:
            return live.state()
        state = await self._memory.state(job_id)
        if state is not None or self._redis is None or home_of(job_id) is None:
            return state
        return await self._redis.state(job_id)


def _nothing() -> None:
    """What to undo for a viewer of a log that has ended."""
