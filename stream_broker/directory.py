"""Finds a job wherever it lives: relayed here, in this memory, or in the shared log.

To anyone but its owner a job does not exist (CONTRACT, promise 6).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from contracts.problems import ProblemError
from inventory.model import Durability
from stream_broker.followers import Followers
from stream_broker.ids import Home, home_of, time_of
from stream_broker.live import LiveJob
from stream_broker.log.base import EventLog, LogUnavailable
from stream_broker.log.memory import MemoryLog
from stream_broker.log.redis import RedisLog
from stream_broker.playout import Playout
from stream_broker.record import JobState
from stream_broker.running import Runner
from stream_broker.text import text_of
from stream_broker.watch import Watch
from stream_broker.window import Window


class Directory:
    """Looks jobs up for their owners.

    `look` hears of viewers of a job relayed elsewhere: its relay may have died, and whoever
    is asked for it is to find that out first. `was_away(job_id, at)`: was the log of the
    job's home away at that Unix time, as far as this broker saw?
    """

    def __init__(
        self,
        home: Home,
        runner: Runner,
        memory: MemoryLog,
        redis: RedisLog | None,
        followers: Followers | None,
        playout: Playout,
        look: Callable[[], None] = lambda: None,
        was_away: Callable[[str, float], bool] = lambda _job, _at: False,
    ) -> None:
        self._home = home
        self._runner = runner
        self._memory = memory
        self._redis = redis
        self._followers = followers
        self._playout = playout
        self._look = look
        self._was_away = was_away

    async def state(self, job_id: str, user_id: str) -> JobState:
        """The job as far as it may be shown.

        Raises ProblemError `unknown_job` or `not_here`, and LogUnavailable.
        """
        state = await self._find(job_id)
        if state is not None and state.head.user_id == user_id:
            return state
        home = home_of(job_id)
        if state is None and home is not None and home != self._home and self._alone(job_id):
            raise ProblemError(
                "not_here", f"If there is such a job, {home} has it", extra={"home": str(home)}
            )
        raise ProblemError("unknown_job", "No such job")

    def _alone(self, job_id: str) -> bool:
        """May the job live in its home's memory only? It does without a shared log, and it
        may if that was away when the job was made."""
        made_at = time_of(job_id)
        return made_at is not None and (self._redis is None or self._was_away(job_id, made_at))

    async def watch(self, job_id: str, user_id: str, cursor: int) -> Watch:
        """A viewer's hold on the job, from `cursor` on.

        Raises ProblemError `unknown_job`, `not_here`, `log_expired` or `bad_cursor`,
        and LogUnavailable.
        """
        state = await self.state(job_id, user_id)
        if state.log_expired:
            raise ProblemError("log_expired", "The log of this job has expired")
        if cursor > state.last_seq and not await self._reaches(state, cursor):
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
        self._look()
        window = followers.open(job_id, state.last_seq, state.head.grant.limits.detach_grace_s)
        self._playout.pace(window, state.head.grant.pacing)
        return Watch(state, window, log, cursor, partial(followers.close, job_id))

    async def _reaches(self, state: JobState, cursor: int) -> bool:
        """Does the log go as far as `cursor`, though it could not be seen here at first?

        Another broker shows an event as soon as the log has it, and another relay may have
        gone on; whoever comes here from there is not to be sent away for good.
        """
        if cursor <= state.reach:
            return True
        job_id = state.head.job_id
        if self._log(state.head.durability) is self._memory or not self._relayed_here(job_id):
            return False
        logged = await self._redis.state(job_id) if self._redis is not None else None
        return logged is not None and cursor <= max(logged.last_seq, logged.reach)

    async def text(self, state: JobState) -> str | None:
        """The answer so far, out of the durable log; None once it has expired."""
        if state.log_expired:
            return None
        log = self._log(state.head.durability)
        return await text_of(log, state.head.job_id, state.last_seq)

    async def cancel(self, state: JobState) -> None:
        """Cancels a job on behalf of its owner, wherever its relay is. Raises LogUnavailable.

        Its record is told in any case: a relay here may not know yet that another broker has
        taken over from it, or may die before the end is written.
        """
        if state.end_name is not None:
            return
        here = self._runner.cancel(state.head.job_id, "client")
        if self._redis is None or state.head.durability == "none":
            return
        try:
            await self._redis.request_cancel(state.head.job_id, "client")
        except LogUnavailable:
            if not here:
                raise

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
