"""Settlements on their way to the control plane: spooled to disk, sent until taken.

What is promised, from the call of `add` on:

    the broker is killed        nothing is lost: the line is with the kernel before `add` returns
    the machine loses power     nothing that was not taken at the first attempt is lost: it is
                                brought to the disk before the next one; in between lie one call
                                and GATHER_S
    the disk takes nothing      it is kept in memory, sent, and written once the disk takes it
    the control plane is away   up to `max_bytes` are kept; then texts go first, then whole
                                settlements, counted and logged

Sending one twice is harmless: they are idempotent by `job_id`.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import deque
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Final, Literal

import msgspec

from contracts.grants import BATCH_MAX, Settlement
from contracts.problems import ProblemError
from stream_broker.control import ControlClient, ControlUnavailable
from stream_broker.spool_files import Segment, SpoolFiles, sync

_LOG = logging.getLogger(__name__)

# Characters of text in one call, of which the control plane reads SETTLEMENT_MAX.
_CALL_TEXT_MAX: Final = 64 << 10
# The first goes at once; those that end within so many seconds of a call go together in the next
# one. At 500 jobs a second a control plane has half of the calls then (`bench.grants`).
GATHER_S: Final = 0.05
# Seconds between attempts, by the number of those that have failed in a row.
_RETRY_S: Final = (0.5, 1.0, 2.0, 4.0)

# What may become of one: lost for want of room; not on disk; refused for good.
Trouble = Literal["dropped", "unwritten", "refused"]


class _Entry:
    """`segment` is None while the disk has not taken it; `size` is that of its line."""

    __slots__ = ("segment", "settlement", "size")

    def __init__(self, settlement: Settlement, size: int, segment: Segment | None) -> None:
        self.settlement = settlement
        self.size = size
        self.segment = segment


class SettlementSpool:
    """A bounded queue of settlements with files behind it, in `root`.

    `max_bytes` bounds both; `trouble` is told of each settlement that meets some.
    """

    def __init__(
        self,
        root: Path,
        control: ControlClient,
        *,
        max_bytes: int,
        trouble: Callable[[Trouble], None] = lambda _: None,
    ) -> None:
        self._control = control
        self._max_bytes = max_bytes
        self._trouble = trouble
        self._files = SpoolFiles(root)
        self._queue: deque[_Entry] = deque()
        self._wake = asyncio.Event()
        self.bytes = 0
        self._take_in()

    def __len__(self) -> int:
        return len(self._queue)

    @property
    def waiting(self) -> list[Settlement]:
        """Those that were not taken yet, the oldest first."""
        return [entry.settlement for entry in self._queue]

    def leases_of(self, user_id: str) -> list[str]:
        """Leases of the user's jobs that wait here; of the oldest BATCH_MAX of all that wait."""
        waiting = (entry.settlement for entry in islice(self._queue, BATCH_MAX))
        return [each.lease_id for each in waiting if each.user_id == user_id and each.lease_id]

    def add(self, settlement: Settlement) -> None:
        """Takes a settlement. When the spool is full its texts go first, then all of it."""
        line = msgspec.json.encode(settlement)
        if self.bytes + len(line) >= self._max_bytes and _has_text(settlement):
            settlement = without_text(settlement)
            line = msgspec.json.encode(settlement)
        if self.bytes + len(line) >= self._max_bytes:
            self._trouble("dropped")
            # Without its text by now: what is left is who owes what.
            _LOG.error("the settlement spool is full; dropped: %s", line.decode())
            return
        entry = _Entry(settlement, len(line) + 1, self._files.append(line))
        if entry.segment is None:
            self._trouble("unwritten")
        self._queue.append(entry)
        self.bytes += entry.size
        self._wake.set()

    async def run(self) -> None:
        """Sends until cancelled."""
        failures = 0
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._queue:
                # After a failure one asks for all, lest all brokers come back at once.
                if await self._send_some(1 if failures else BATCH_MAX):
                    failures = 0
                    if len(self._queue) < BATCH_MAX:
                        await asyncio.sleep(GATHER_S)
                else:
                    await self._keep()
                    await asyncio.sleep(_pause(failures))
                    failures += 1

    async def finish(self) -> None:
        """Sends what waits, up to the first call that is not answered; to be used once `run` has
        ended. A broker that is stopped for good leaves nothing behind so."""
        while self._queue and await self._send_some(BATCH_MAX):
            pass

    def close(self) -> None:
        """Closes the files; what is in them is sent by the next process."""
        self._files.close()

    async def _send_some(self, most: int) -> bool:
        """Sends the oldest in one call, so many at most; returns whether it was answered."""
        entries = self._next(most)
        try:
            refused = await self._control.settle([entry.settlement for entry in entries])
        except (ControlUnavailable, ProblemError) as error:
            _LOG.debug("settlements not taken: %s", error)
            return False
        for entry in entries:
            self._queue.popleft()
            reason = refused.get(entry.settlement.job_id)
            if reason is None or not self._again(entry, reason):
                self._done(entry)
        return True

    def _next(self, most: int) -> list[_Entry]:
        """The oldest, as many as go in one call; always one."""
        batch: list[_Entry] = []
        left = _CALL_TEXT_MAX
        for entry in islice(self._queue, most):
            left -= _text_length(entry.settlement)
            if batch and left < 0:
                break
            batch.append(entry)
        return batch

    def _again(self, entry: _Entry, reason: str) -> bool:
        """One that is refused may be taken without its text; whether that is tried."""
        if _has_text(entry.settlement):
            entry.settlement = without_text(entry.settlement)
            self._queue.append(entry)
            return True
        # Repeating it would block all that follow. The log keeps what it says.
        self._trouble("refused")
        said = msgspec.json.encode(entry.settlement).decode()
        _LOG.error("a settlement is refused (%s): %s", reason, said)
        return False

    def _done(self, entry: _Entry) -> None:
        self.bytes -= entry.size
        if entry.segment is not None:
            self._files.done(entry.segment)

    async def _keep(self) -> None:
        """Before a pause: what waits is brought to the disk, as far as it takes it."""
        for entry in self._queue:
            if entry.segment is None:
                entry.segment = self._files.append(msgspec.json.encode(entry.settlement))
                if entry.segment is None:
                    break
        paths = self._files.unsynced()
        try:
            await asyncio.to_thread(sync, paths)
        except OSError as error:
            self._files.not_synced(paths)
            _LOG.error("the settlement spool is not on the disk: %s", error)

    def _take_in(self) -> None:
        for segment, lines in self._files.take_in():
            for line in lines:
                try:
                    settlement = msgspec.json.decode(line, type=Settlement)
                except (ValueError, RecursionError):
                    if line:
                        _LOG.warning("a torn line in %s is skipped", segment.path.name)
                    self._files.done(segment)
                    continue
                self._queue.append(_Entry(settlement, len(line) + 1, segment))
                self.bytes += len(line) + 1
        if self._queue:
            self._wake.set()


def without_text(settlement: Settlement) -> Settlement:
    """What is billed, without what was said."""
    return msgspec.structs.replace(settlement, final_text=None, asked=[])


def _has_text(settlement: Settlement) -> bool:
    return settlement.final_text is not None or bool(settlement.asked)


def _text_length(settlement: Settlement) -> int:
    return len(settlement.final_text or "") + sum(len(said.text) for said in settlement.asked)


def _pause(failures: int) -> float:
    """Seconds until the next attempt: brokers that lost the control plane together must
    not come back together."""
    return _RETRY_S[min(failures, len(_RETRY_S) - 1)] * random.uniform(0.5, 1.5)  # noqa: S311
