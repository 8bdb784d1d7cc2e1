"""Settlements on their way to the control plane: spooled to disk, sent until taken.

A settlement is written to the spool before it is sent and the spool is emptied when
all have been taken, so a restart of the broker or an absence of the control plane
loses none; sending one twice is harmless, they are idempotent by `job_id`.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections import deque
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import msgspec

from contracts.grants import BATCH_MAX, Settlement
from contracts.problems import ProblemError
from stream_broker.control import ControlClient, ControlUnavailable

_LOG = logging.getLogger(__name__)
_RETRY_S = 1.0
# Characters of final texts in one call, of which the control plane reads 1 MiB.
_CALL_TEXT_MAX = 64 << 10


class SettlementSpool:
    """A bounded queue of settlements with a file behind it. `max_bytes` bounds both;
    `dropped` is called for each one that does not fit."""

    def __init__(
        self,
        path: Path,
        control: ControlClient,
        *,
        max_bytes: int,
        dropped: Callable[[], None] = lambda: None,
    ) -> None:
        self._path = path
        self._control = control
        self._max_bytes = max_bytes
        self._queue: deque[Settlement] = deque()
        self._wake = asyncio.Event()
        self._bytes = 0
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        self._dropped = dropped
        self._load()

    def __len__(self) -> int:
        return len(self._queue)

    def add(self, settlement: Settlement) -> None:
        """Takes a settlement. When the spool is full its text goes first, then all of it:
        it is dropped, counted and logged."""
        line = msgspec.json.encode(settlement) + b"\n"
        if self._bytes + len(line) > self._max_bytes and settlement.final_text is not None:
            settlement = msgspec.structs.replace(settlement, final_text=None)
            line = msgspec.json.encode(settlement) + b"\n"
        if self._bytes + len(line) > self._max_bytes:
            self._dropped()
            _LOG.error("the settlement spool is full: %s is dropped", settlement.job_id)
            return
        self._write(line)
        self._bytes += len(line)
        self._queue.append(settlement)
        self._wake.set()

    async def run(self) -> None:
        """Sends until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._queue:
                batch = self._next()
                if await self._send(batch):
                    for _ in batch:
                        self._queue.popleft()
                else:
                    await asyncio.sleep(_RETRY_S)
            os.ftruncate(self._fd, 0)
            self._bytes = 0

    def close(self) -> None:
        """Closes the file; what is in it is sent by the next process."""
        os.close(self._fd)

    def _next(self) -> list[Settlement]:
        """The oldest, as many as go in one call; always one."""
        batch: list[Settlement] = []
        left = _CALL_TEXT_MAX
        for settlement in islice(self._queue, BATCH_MAX):
            left -= len(settlement.final_text or "")
            if batch and left < 0:
                break
            batch.append(settlement)
        return batch

    async def _send(self, batch: list[Settlement]) -> bool:
        try:
            refused = await self._control.settle(batch)
        except (ControlUnavailable, ProblemError) as error:
            _LOG.debug("settlements not taken: %s", error)
            return False
        # Refused for good: repeating it would block all that follow.
        for job_id, why in refused.items():
            _LOG.error("settlement of %s refused: %s", job_id, why)
        return True

    def _write(self, line: bytes) -> None:
        try:
            os.write(self._fd, line)
        except OSError as error:
            # It is still sent by this process; only a restart would lose it.
            _LOG.error("the settlement spool cannot be written: %s", error)

    def _load(self) -> None:
        content = self._path.read_bytes()
        if content and not content.endswith(b"\n"):
            # Torn by a crash: what is written next must begin on a line of its own.
            self._write(b"\n")
        for line in content.splitlines():
            try:
                self._queue.append(msgspec.json.decode(line, type=Settlement))
            except msgspec.MsgspecError:
                _LOG.warning("a torn line in %s is skipped", self._path.name)
            self._bytes += len(line) + 1
        if self._queue:
            self._wake.set()
