"""The way of appends to one primary: a connection, one flush after the other."""

from __future__ import annotations

import asyncio
import logging

from stream_broker.log.appending import LOAD, AppendEncoder, outcomes, refusals, wait
from stream_broker.log.base import Append, LogUnavailable, Outcome, Unacknowledged
from stream_broker.log.link import Link
from stream_broker.log.stores import COMMAND_TIMEOUT_S, Stores

_LOG = logging.getLogger(__name__)

# Jobs whose durable number is remembered: more than one broker relays at once.
_JOBS_MAX = 8192


class Lane:
    """Appends of the homes that share a lane; `tag` is one of them.

    A flush is durable when it returns: written, and acknowledged by as many replicas as
    the stores name. One that was written and not acknowledged is, when it is repeated,
    not sent again: only the acknowledgement is asked for, on the same connection.
    """

    def __init__(self, stores: Stores, tag: str, encoder: AppendEncoder) -> None:
        self._stores = stores
        self._tag = tag
        self._encoder = encoder
        self._one = asyncio.Lock()
        self._link: Link | None = None
        self._written: tuple[list[Append], list[Outcome]] | None = None
        self._durable: dict[str, int] = {}

    async def append(self, batch: list[Append]) -> list[Outcome]:
        """See EventLog."""
        async with self._one:
            return await self._append(batch)

    async def _append(self, batch: list[Append]) -> list[Outcome]:
        try:
            link = await self._open()
            written = self._written
            if written is not None and written[0] is batch:
                found = written[1]
                await self._acknowledge(link)
            else:
                found = await self._write(link, batch)
        except LogUnavailable as error:
            if not isinstance(error, Unacknowledged):
                self.close()
            self._stores.suspect(self._tag)
            raise
        self._written = None
        self._stores.trust(self._tag)
        self._note(batch, found)
        return found

    def close(self) -> None:
        """Ends the connection; the next flush opens another."""
        self._written = None
        if self._link is not None:
            self._link.close()
            self._link = None

    async def _open(self) -> Link:
        if self._link is None or self._link.closed:
            self.close()
            self._link = await self._stores.link(self._tag, LOAD)
        return self._link

    async def _write(self, link: Link, batch: list[Append]) -> list[Outcome]:
        acks = self._stores.acks
        durable = self._durable.get
        # Where no replica is asked, what is written is as durable as it will be.
        parts = [
            self._encoder.encode(entry, durable(entry.job_id, 0) if acks else None)
            for entry in batch
        ]
        if acks:
            parts.append(wait(acks))
        replies = await link.call(b"".join(parts), len(parts), COMMAND_TIMEOUT_S)
        found = outcomes(replies[: len(batch)])
        for refusal in refusals(replies[: len(batch)]):
            _LOG.error("the log refuses an append: %s", refusal)
        if acks and not _acknowledged(replies[-1], acks):
            self._written = batch, found
            raise Unacknowledged("too few replicas have it")
        return found

    async def _acknowledge(self, link: Link) -> None:
        acks = self._stores.acks
        (reply,) = await link.call(wait(acks), 1, COMMAND_TIMEOUT_S)
        if not _acknowledged(reply, acks):
            raise Unacknowledged("too few replicas have it")

    def _note(self, batch: list[Append], found: list[Outcome]) -> None:
        """Remembers how far each job is durable, for its next append to say."""
        durable = self._durable
        for entry, outcome in zip(batch, found, strict=True):
            durable.pop(entry.job_id, None)
            if outcome == "stored" and not entry.events[-1].terminal:
                durable[entry.job_id] = entry.events[-1].seq
        while len(durable) > _JOBS_MAX:
            # The one that was longest without an append: handed over, most likely.
            del durable[next(iter(durable))]


def _acknowledged(reply: object, acks: int) -> bool:
    """WAIT's answer. An error is one of a process that is no primary any more."""
    if not isinstance(reply, int):
        raise LogUnavailable(str(reply))
    return reply >= acks
