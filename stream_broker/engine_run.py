"""One job's way through the engines of its grant.

engine fails before its round's first chunk  the next one is asked, without a word
engine fails in mid-answer                   the next one that can goes on behind the text
neither is possible                          the engine's failure is the job's
engine calls tools of the policy             they are answered, then the same engine goes on
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, TypeVar

import msgspec

from contracts.grants import EngineTarget
from stream_broker.continuing import able, in_order, obstacle, places_of
from stream_broker.engines.call import EngineCall
from stream_broker.engines.client import EngineClient
from stream_broker.engines.deltas import Delta, Failure
from stream_broker.live import LiveJob
from stream_broker.log.base import EventLog, LogUnavailable
from stream_broker.measures import Hearing
from stream_broker.native import Native
from stream_broker.record import JobHead
from stream_broker.rounds import Rounds, Spoken, name_of, rounds_of
from stream_broker.seam import Seam, cut
from stream_broker.tasks import end
from stream_broker.text import spoken_in, text_of, until_stored
from stream_broker.tool_desk import ToolDesk

T = TypeVar("T")

_LOG = logging.getLogger(__name__)
# A prompt that is too long is so for every engine; all else may be one engine's affair.
_GO_ON_AFTER = frozenset(
    {"engine_unreachable", "engine_error", "engine_stalled", "engine_truncated"}
)
_LOG_RETRY_S = 0.2


class EngineRun:
    """The sink of a job's engines, one after the other.

    `targets` are those of its grant, with the latest that is known of them; `call` is the
    engine call without its prefix; `patience`: seconds to wait for a log that is to tell
    the text so far, which is never kept in memory; `moved` is called for each engine that
    went on behind a text, `faulted` for each that failed, with the code; `hearing` makes what
    measures one call, of the engine's URL, the job's model and the job; `desk` has the
    policy's tools called; `native` shortens the way of what needs none of this.
    """

    def __init__(
        self,
        live: LiveJob,
        targets: Sequence[EngineTarget],
        client: EngineClient,
        log: EventLog,
        call: EngineCall,
        *,
        patience: float,
        moved: Callable[[], None],
        faulted: Callable[[EngineTarget, str], None],
        hearing: Callable[[str, str, str], Hearing],
        desk: ToolDesk,
        native: Native | None = None,
    ) -> None:
        self._live = live
        self._client = client
        self._log = log
        self._call = call
        self._first_call = call
        self._desk = desk
        self._patience = patience
        self._count_move = moved
        self._faulted = faulted
        self._hearing = hearing
        self._native = native
        self._targets = targets
        self._places = list(range(len(targets)))
        self._left = in_order(self._places, live.engine)
        self._failure = Failure("internal", "no engine of this job can be asked")
        self._seam: Seam | None = None
        self._moved = False
        self._asked = live.engine
        self._tasks: set[asyncio.Task[None]] = set()

    def prefer(self, chosen: Sequence[EngineTarget]) -> None:
        """Asks these only, in this order, as far as the grant knows them."""
        self._places = places_of(chosen, self._targets)
        self._left = list(self._places)

    def resume(self, said: Spoken) -> None:
        """Begins behind the rounds that another relay has brought to their end."""
        self._take_up(said)

    async def start(self, text: str) -> None:
        """Starts the next engine that can go on behind `text`, the answer so far."""
        while self._live.relay.state == "open":
            able_now = self._able()
            if not able_now:
                self._live.deltas([self._failure])
                return
            if await self._ask(able_now[0], text):
                return

    def deltas(self, deltas: list[Delta]) -> None:
        """What the engine says; called from its connection."""
        last = deltas[-1]
        if isinstance(last, Failure):
            self._say(deltas[:-1])
            self._failed(last)
        else:
            self._say(deltas)
            if self._live.relay.rounds.ended and self._live.relay.state == "open":
                self._spawn(self._answer_calls())

    async def aclose(self) -> None:
        """Ends a start, or calls of tools, that are under way."""
        await end(self._tasks)

    def _say(self, deltas: list[Delta]) -> None:
        if self._seam is not None:
            deltas = self._seam.take(deltas)
        if not deltas:
            return
        if self._moved:
            self._moved = False
            self._count_move()
            self._live.notice("engine_moved", "another engine goes on")
        self._live.deltas(deltas)

    def _failed(self, failure: Failure) -> None:
        """Goes on with the next engine, or ends the job."""
        live = self._live
        if live.relay.state != "open":
            return
        if failure.code in _GO_ON_AFTER and not failure.of_request:
            # What one user's request is refused for must not take the engine from others.
            self._faulted(self._targets[self._asked], failure.code)
        reason = obstacle(live.head, live.relay)
        if self._left and not (reason or self._able()):
            reason = "no other engine goes on behind a text"
        if failure.code not in _GO_ON_AFTER or reason or not self._left:
            live.deltas([_with_reason(failure, reason)])
            return
        _LOG.warning("%s: %s, trying the next engine", live.head.job_id, failure)
        self._failure = failure
        self._spawn(self._start_next())

    def _spawn(self, step: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(self._run(step))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, step: Coroutine[Any, Any, None]) -> None:
        try:
            await step
        except Exception:
            _LOG.exception("%s: cannot go on", self._live.head.job_id)
            self._live.fail("internal", "the next engine could not be asked")

    async def _answer_calls(self) -> None:
        """Has the calls of this round carried out, and asks the engine again."""
        live = self._live
        await self._desk.answer(live)
        if live.relay.state != "open":
            return
        reason = live.relay.due_end(self._call.max_tokens)
        if reason is not None:
            live.finish(reason)
        elif (said := await self._said_so_far(spoken_in)) is None:
            live.fail("log_unavailable", "the conversation so far cannot be read")
        else:
            self._take_up(said)
            await self.start("")

    def _take_up(self, said: Spoken) -> None:
        """The next round: every engine may be asked again, the last one first."""
        self._left = in_order(self._places, self._live.engine)
        self._seam, self._moved = None, False
        self._call = next_call(self._first_call, said.messages, self._live.relay.rounds)

    async def _start_next(self) -> None:
        live = self._live
        if not live.relay.begun:
            await self.start("")
        elif live.relay.tally.produced >= self._call.max_tokens:
            live.finish("length")
        elif (text := await self._text_so_far()) is None:
            live.fail("log_unavailable", "the text so far cannot be read")
        else:
            live.relay.tally.next_part()
            self._moved = True
            await self.start(text)

    async def _text_so_far(self) -> str | None:
        """What the job has said in this round."""
        if not self._live.relay.rounds.finished:
            return await self._said_so_far(text_of)
        said = await self._said_so_far(spoken_in)
        return None if said is None else said.text

    async def _said_so_far(
        self, read: Callable[[EventLog, str, int], Awaitable[T | None]]
    ) -> T | None:
        """All that the job has said, once the log holds it: nothing is continued beyond that."""
        live = self._live
        try:
            async with asyncio.timeout(self._patience):
                await until_stored(live.window, live.relay.last_seq)
                while True:
                    try:
                        return await read(self._log, live.head.job_id, live.window.durable)
                    except LogUnavailable:
                        await asyncio.sleep(_LOG_RETRY_S)
        except TimeoutError:
            return None

    def _able(self) -> list[int]:
        return able(self._targets, self._left, begun=self._live.relay.begun)

    async def _ask(self, number: int, text: str) -> bool:
        """Asks one engine; it is not asked again. Returns whether it could be."""
        live, target = self._live, self._targets[number]
        self._left.remove(number)
        self._asked = number
        prefix, tail = cut(text, trims=target.trims)
        self._seam = Seam(tail) if tail else None
        tokens = max(1, self._call.max_tokens - live.relay.tally.produced)
        call = msgspec.structs.replace(self._call, prefix=prefix, max_tokens=tokens)
        if prefix and live.relay.rounds.granted:
            # What was begun as a text is brought to its end as one.
            call = msgspec.structs.replace(call, tool_choice="none")
        hearing = self._hearing(target.base_url, live.head.model, live.job_id)
        try:
            engine = await self._client.start(target, call, self, hearing)
        except Exception:
            _LOG.exception("%s: %s cannot be asked", live.head.job_id, target.base_url)
            return False
        live.attach(engine)
        if self._native is not None and not (text or self._moved):
            # Where a text is gone on with, this is the sink: it sees to the seam.
            engine.shorten(self._native.intakes(live))
        if number != live.engine:
            live.engine = number
            await self._note(number)
        return True

    async def _note(self, number: int) -> None:
        """The record names the engine that serves; whoever takes over begins with it."""
        live = self._live
        try:
            await self._log.note_engine(live.head.job_id, live.epoch, number)
        except LogUnavailable as error:
            _LOG.debug("%s: its engine is not noted: %s", live.head.job_id, error)


def _with_reason(failure: Failure, reason: str | None) -> Failure:
    """The failure, and why no other engine goes on."""
    if reason is None:
        return failure
    message = f"{failure.message} The answer cannot be continued: {reason}."
    return msgspec.structs.replace(failure, message=message)


def call_of(head: JobHead) -> EngineCall:
    """The engine call of a job: what its client asked for, as far as its grant goes, with the
    tools of the policy behind the client's own."""
    members = dict(head.call)
    members["stop"] = tuple(members.get("stop", ()))
    grant = head.grant
    if granted := rounds_of(head).granted:
        policys = [tool for tool in grant.tools if name_of(tool) in granted]
        members["tools"] = [*(members.get("tools") or ()), *policys]
    if head.trace is not None:
        members["traceparent"] = head.trace.header("generation")
    return EngineCall(model=grant.engine.model, max_tokens=grant.limits.max_tokens, **members)


def next_call(first: EngineCall, messages: list[dict[str, Any]], rounds: Rounds) -> EngineCall:
    """The call of a later round: with what was said since, and without a tool that must be
    called. When all rounds are used up only the client's own tools are left."""
    choice = first.tool_choice if first.tool_choice in ("auto", "none") else None
    tools = first.tools
    if rounds.used_up:
        own = [tool for tool in tools or () if name_of(tool) not in rounds.granted]
        tools, choice = own or tools, choice if own else "none"
    return msgspec.structs.replace(
        first, messages=[*first.messages, *messages], tools=tools, tool_choice=choice
    )
