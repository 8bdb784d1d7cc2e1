"""What uvicorn keeps for each connection, in as little as a silent stream needs of it.

uvicorn's own are an `asyncio.Event` in each of two objects and a `deque`, of which each
takes 0.7 KiB, and for as long as an answer runs its request and that request's parser.
"""

from __future__ import annotations

import asyncio


class Flow:
    """Stands for uvicorn's FlowControl: `read_paused` and `write_paused` tell how it is."""

    __slots__ = ("_room", "_transport", "read_paused", "write_paused")

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._room: asyncio.Future[None] | None = None
        self.read_paused = False
        self.write_paused = False

    async def drain(self) -> None:
        """Returns once more may be written, or the connection is gone."""
        while self.write_paused:
            if self._room is None:
                self._room = asyncio.get_running_loop().create_future()
            # Who waits may be cancelled; others may wait too.
            await asyncio.shield(self._room)

    def pause_reading(self) -> None:
        """Reads no more."""
        if not self.read_paused:
            self.read_paused = True
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Reads on."""
        if self.read_paused:
            self.read_paused = False
            self._transport.resume_reading()

    def pause_writing(self) -> None:
        """Lets those wait who drain."""
        self.write_paused = True

    def resume_writing(self) -> None:
        """Lets them go on."""
        self.write_paused = False
        room, self._room = self._room, None
        if room is not None:
            room.set_result(None)


class Pipeline(list[object]):
    """Stands for uvicorn's `deque` of requests that came before their turn: there are few."""

    __slots__ = ()

    def appendleft(self, item: object) -> None:
        """Puts one behind all others: they are taken from the right."""
        self.insert(0, item)


class Answer:
    """Stands for uvicorn's cycle of a request while its answer goes on without ASGI.

    The names are uvicorn's: it looks at them, and sets them, when the connection or the
    server ends and when another request comes.
    """

    __slots__ = ("disconnected", "keep_alive", "response_complete")

    def __init__(self, *, keep_alive: bool) -> None:
        self.disconnected = False
        self.keep_alive = keep_alive
        self.response_complete = False

    @property
    def message_event(self) -> Answer:
        """Nobody waits for more of the request."""
        return self

    def set(self) -> None:
        """Sets that event."""
