"""The relay's decisions for one job: what engines say becomes numbered events.

Pure: deltas, commands and the time go in, events come out; the shell (`live.py`) owns
the engine's connection and the log. A relay can also be rebuilt from a log, so that
another broker continues the same text under the same numbers.

    open ──Finish──▶ completed      (job_complete)
         ──Failure─▶ failed         (job_error)
         ──cancel──▶ cancelled      (job_cancelled)
         ──Finish at the quota's limit──▶ cancelled
         ──Finish with calls of the policy's tools──▶ open: their results, then another round

Exactly one terminal event ends a job; whatever comes after it is ignored.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from contracts.codes import JOB_ERRORS
from contracts.grants import Usage
from stream_broker.engines.deltas import Delta, Failure, Finish, Reasoning, Text, ToolCall
from stream_broker.events import OVERHEAD, Event, EventEncoder
from stream_broker.gaps import Gaps
from stream_broker.rounds import CALLS_AFTER, Rounds
from stream_broker.tally import Tally

State = Literal["open", "completed", "failed", "cancelled"]

_STATE_AFTER: dict[str, State] = {
    "job_complete": "completed",
    "job_error": "failed",
    "job_cancelled": "cancelled",
}

# Room that is kept in a full log for the terminal event.
_TERMINAL_RESERVE = 1024


class Relay:
    """The state of one job's generation.

    `log_max`: bytes of its log; what does not fit ends it with `finish_reason: length`;
    `prompt_estimate`: prompt tokens to report where no engine gave a count;
    `quota_limit`: tokens of the answer at which the user's quota ends it, None where
    something else bounds it sooner; `rounds`: the tools that it may call.
    """

    __slots__ = (
        "_bytes",
        "_chunks_before",
        "_created_at",
        "_encoder",
        "_quota_limit",
        "_room",
        "_stamp",
        "_ts",
        "gaps",
        "last_seq",
        "reasoned",
        "rounds",
        "state",
        "tally",
        "tool_calls",
    )

    def __init__(
        self,
        job_id: str,
        created_at: float,
        *,
        log_max: int,
        prompt_estimate: int,
        quota_limit: int | None = None,
        rounds: Rounds | None = None,
    ) -> None:
        self._encoder = EventEncoder(job_id)
        self._created_at = created_at
        self._room = log_max - _TERMINAL_RESERVE
        self._bytes = 0
        self._ts = created_at
        self._stamp = b"%.6f" % created_at
        self._quota_limit = quota_limit
        self.tally = Tally(prompt_estimate)
        self.gaps = Gaps()
        self.state: State = "open"
        self.last_seq = 0
        self.rounds = rounds or Rounds()
        self.tool_calls = 0
        self.reasoned = False
        self._chunks_before = 0

    def take(self, deltas: Sequence[Delta], now: float) -> list[Event]:
        """What the engine said, at Unix time `now`, as events."""
        events: list[Event] = []
        self._set_time(now)
        if len(deltas) > 1 and self.state == "open":
            texts = [delta.text for delta in deltas if type(delta) is Text]
            if len(texts) == len(deltas) and (events := self._tokens(texts)):
                return events
        for delta in deltas:
            if self.state != "open":
                break
            if isinstance(delta, Text):
                events.append(self._text("token", delta.text))
            elif isinstance(delta, Reasoning):
                events.append(self._text("reasoning", delta.text))
            elif isinstance(delta, ToolCall):
                events.append(self._tool_call(delta))
            elif isinstance(delta, Finish) and self._calls_for_more(delta):
                self.tally.next_round(delta.usage)
                self.rounds.ended = True
            elif isinstance(delta, Finish):
                events.append(self._finish(delta))
            elif isinstance(delta, Failure):
                events.extend(self.fail(delta.code, delta.message, of_request=delta.of_request))
        return events

    def tool_result(self, call_id: str, *, ok: bool, content: str) -> list[Event]:
        """What became of an open call. The last of a round ends it, and the job with it where
        the client has calls of its own to answer."""
        call = self.rounds.open.get(call_id)
        if self.state != "open" or call is None:
            return []
        members = {"id": call_id, "name": call.name, "ok": ok, "content": content}
        event = self._encoder.other(self.last_seq + 1, "tool_result", members)
        if self._bytes + event.size > self._room:
            return [self._complete("length", None)]
        events = [self._kept(event)]
        if self.rounds.close(call_id):
            self._next_round()
            if self.rounds.over:
                events.append(self._complete("tool_calls", None))
        return events

    def notice(self, code: str, message: str, **more: Any) -> list[Event]:
        """Something worth telling that is not the answer."""
        if self.state != "open":
            return []
        return [self._event("notice", {"code": code, "message": message, **more})]

    def fail(self, code: str, message: str, *, of_request: bool = False) -> list[Event]:
        """Ends the job as failed; `code` is one of `JOB_ERRORS`. `of_request`: see Failure."""
        if self.state != "open":
            return []
        self.state = "failed"
        return [
            self._event(
                "job_error",
                {
                    "code": code,
                    "message": message,
                    "retryable": JOB_ERRORS[code] and not of_request,
                    "usage": self.tally.close(None),
                },
            )
        ]

    def cancel(self, reason: str) -> list[Event]:
        """Ends the job as cancelled, also before its first token."""
        if self.state != "open":
            return []
        return [self._cancelled(reason, None)]

    def replay(self, events: Sequence[Event]) -> str:
        """Takes in a log that another relay began. Returns the text of the last round."""
        text: list[str] = []
        for event in events:
            body = event.body()
            self.last_seq = event.seq
            self._bytes += event.size
            if event.name in ("token", "reasoning"):
                self._set_time(body["ts"])
                self.gaps.add(self._ts)
                self.tally.chunks += 1
                self.reasoned |= event.name == "reasoning"
                text.append(body.get("token", ""))
            elif event.name == "tool_call":
                self.tool_calls += 1
                call = ToolCall(body["id"], body["name"], body["arguments"])
                self.rounds.add(call, ours=body.get("server", False))
            elif event.name == "tool_result":
                if self.rounds.close(body["id"]):
                    self._next_round()
                    text.clear()
            elif event.terminal:
                self.state = _STATE_AFTER[event.name]
        if self.rounds.finished:
            self.tally.next_round(None)
        else:
            self.tally.next_part()
        return "".join(text)

    @property
    def said(self) -> bool:
        """Has any engine said anything?"""
        return bool(self.tally.chunks or self.tool_calls)

    @property
    def begun(self) -> bool:
        """Has an engine said anything in this round?"""
        return self.tally.chunks > self._chunks_before or self.rounds.called

    def due_end(self, max_tokens: int) -> str | None:
        """The `finish_reason` of a job that no engine is to go on with; None where one is."""
        if self.rounds.over:
            return "tool_calls"
        if self.rounds.finished > self.rounds.most:
            return "stop"
        return "length" if self.tally.produced >= max_tokens else None

    def _calls_for_more(self, end: Finish) -> bool:
        """Are there calls to be carried out before the answer goes on?"""
        return bool(self.rounds.open) and end.reason in CALLS_AFTER

    def _next_round(self) -> None:
        self._chunks_before = self.tally.chunks
        self.reasoned = False

    def _set_time(self, now: float) -> None:
        """`ts` for what comes now: as the log has it, so that figures follow from the log."""
        micros = int(now * 1e6 + 0.5)
        ts = micros / 1e6
        if ts > self._ts:
            self._ts = ts
            self._stamp = b"%d.%06d" % (micros // 1_000_000, micros % 1_000_000)

    def _tokens(self, texts: list[str]) -> list[Event]:
        """All of a read that is nothing but text, in one go; none if that fills the log."""
        events = self._encoder.tokens(self.last_seq + 1, texts, self._stamp)
        count = len(events)
        size = sum([len(event.data) for event in events]) + OVERHEAD * count
        if self._bytes + size > self._room:
            return []
        self._bytes += size
        self.gaps.add(self._ts, count)
        self.tally.chunks += count
        self.last_seq += count
        return events

    def _text(self, name: str, text: str) -> Event:
        event = self._encoder.stamped(self.last_seq + 1, name, text, self._stamp)
        size = len(event.data) + OVERHEAD
        if self._bytes + size > self._room:
            return self._complete("length", None)
        self._bytes += size
        self.gaps.add(self._ts)
        self.tally.chunks += 1
        if name == "reasoning":
            self.reasoned = True
        self.last_seq = event.seq
        return event

    def _tool_call(self, call: ToolCall) -> Event:
        call, ours = self.rounds.named(call), self.rounds.is_ours(call.name)
        members: dict[str, Any] = {
            "id": call.id,
            "name": call.name,
            "arguments": call.arguments,
        }
        members |= {"server": True} if ours else {"index": self.rounds.handed}
        event = self._encoder.other(self.last_seq + 1, "tool_call", members)
        if self._bytes + event.size > self._room:
            return self._complete("length", None)
        self.tool_calls += 1
        self.rounds.add(call, ours=ours)
        return self._kept(event)

    def _finish(self, end: Finish) -> Event:
        """An engine's clean end: also of a job that its user's quota has cut short."""
        limit = self._quota_limit
        at_quota = (
            limit is not None and end.reason == "length" and self.tally.reaches(limit, end.usage)
        )
        if at_quota:
            return self._cancelled("quota", end.usage)
        return self._complete(end.reason, end.usage)

    def _cancelled(self, reason: str, usage: Usage | None) -> Event:
        self.state = "cancelled"
        members = {"reason": reason, "usage": self.tally.close(usage)}
        return self._event("job_cancelled", members)

    def _complete(self, reason: str, usage: Usage | None) -> Event:
        self.state = "completed"
        members = {
            "finish_reason": reason,
            "usage": self.tally.close(usage),
            "metrics": self.gaps.metrics(self._created_at),
        }
        return self._event("job_complete", members)

    def _event(self, name: str, members: dict[str, Any]) -> Event:
        return self._kept(self._encoder.other(self.last_seq + 1, name, members))

    def _kept(self, event: Event) -> Event:
        self.last_seq = event.seq
        self._bytes += event.size
        return event
