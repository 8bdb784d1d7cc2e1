"""Opens a job for a viewer, and counts those that come back."""

from __future__ import annotations

from contracts.problems import ProblemError
from stream_broker.context import Context
from stream_broker.log.base import LogUnavailable
from stream_broker.watch import Watch


async def watched(context: Context, job_id: str, user_id: str, cursor: int) -> Watch:
    """See `Directory.watch`; for what a client asks, not for where a relay has moved to."""
    directory = context.directory
    if not cursor:
        return await directory.watch(job_id, user_id, cursor)
    relay = "here" if job_id in context.runner.jobs else "elsewhere"
    try:
        watch = await directory.watch(job_id, user_id, cursor)
    except (ProblemError, LogUnavailable) as error:
        code = error.code if isinstance(error, ProblemError) else "log_unavailable"
        context.metrics.resumed(relay, code)
        raise
    if watch.window.ended:
        relay = "over"
    context.metrics.resumed(relay, "ok", max(0, watch.window.last - cursor))
    return watch
