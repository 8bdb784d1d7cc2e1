"""Ends a job that nobody has watched for its grace (CONTRACT, promise 7)."""

from __future__ import annotations

import asyncio

from stream_broker.live import LiveJob
from stream_broker.log.base import LogUnavailable
from stream_broker.log.redis import RedisLog

_LOG_RETRY_S = 1.0


class Grace:
    """Counts the viewers of running jobs on this broker; asks the log about the others."""

    def __init__(self, redis_log: RedisLog | None) -> None:
        self._redis_log = redis_log
        self._tasks: set[asyncio.Task[None]] = set()

    def joined(self, live: LiveJob) -> None:
        """One more viewer on this broker: the grace, if it runs, is over."""
        live.viewers += 1
        _disarm(live)

    def left(self, live: LiveJob) -> None:
        """One less; the last one starts the grace."""
        live.viewers -= 1
        self.arm(live)

    def arm(self, live: LiveJob) -> None:
        """Starts the grace of a job without viewers."""
        grace = live.head.grant.limits.detach_grace_s
        if grace is not None and live.viewers == 0 and live.running:
            self._arm_for(live, grace)

    async def aclose(self) -> None:
        """Ends what is being asked."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _arm_for(self, live: LiveJob, seconds: float) -> None:
        _disarm(live)
        live.grace = live.after(seconds, lambda: self._spawn(live))

    def _spawn(self, live: LiveJob) -> None:
        live.grace = None
        task = asyncio.get_running_loop().create_task(self._over(live))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _over(self, live: LiveJob) -> None:
        if live.viewers or not live.running:
            return
        if self._redis_log is not None and live.head.durability != "none":
            try:
                left = await self._redis_log.seen_for(live.head.job_id)
            except LogUnavailable:
                left = _LOG_RETRY_S
            if live.viewers or live.grace is not None:
                return
            if left > 0:
                self._arm_for(live, left)
                return
        live.cancel("disconnect")


def _disarm(live: LiveJob) -> None:
    if live.grace is not None:
        live.grace.cancel()
        live.grace = None
