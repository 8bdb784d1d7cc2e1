"""One viewer of one job: what it has been shown is a prefix of the one log, or it fails."""

from __future__ import annotations

from tests.proof.ledger import Known
from tests.proof.requests import Block, Request
from tests.proof.twin import Twin


class Viewer:
    """Reads `/v1/stream`, comes back at will, and checks every byte against the ledger."""

    def __init__(self, job_id: str, known: Known) -> None:
        self.job_id = job_id
        self.cursor = 0
        self.twin: Twin | None = None
        self.over = False
        self._known = known
        self._request: Request | None = None
        self._retry_due = False

    def connect(self, twin: Twin, back: int) -> None:
        """Comes back on a broker, `back` events before what was seen last."""
        self.leave()
        self.cursor = max(0, self.cursor - back)
        self.twin = twin
        self.over = False
        self._retry_due = True
        target = f"/v1/stream?job_id={self.job_id}&cursor=0"
        self._request = twin.get(target, last_event_id=str(self.cursor))

    def leave(self) -> None:
        """Closes the connection; what has arrived by then counts."""
        self.look()
        self.drop()

    def drop(self) -> None:
        """Closes the connection, whatever has arrived."""
        if self._request is not None:
            self._request.leave()
        self._gone()

    def stop_taking(self) -> None:
        """The client is slow."""
        if self._request is not None:
            self._request.connection.fill()

    def take(self) -> None:
        """The client has taken everything."""
        if self._request is not None:
            self._request.connection.take()

    def look(self) -> None:
        """Takes in what has arrived, and notes how the connection ended if it has."""
        request = self._request
        if request is None or request.status is None:
            return
        if request.status != 200:
            self._refused(request)
            return
        for block in request.fresh():
            self._block(block)
        assert request.rest in (b"", b": keep-alive\n"), f"half a block: {request.rest!r}"
        if request.over:
            request.task.result()
            assert request.clean, "a stream ended without an end of its body"
            self._gone()
            self.over |= self._known.end is not None and self.cursor >= self._known.end

    def _block(self, block: Block) -> None:
        assert not self.over, "something after the end"
        assert (block.retry == 1000) == self._retry_due, "retry belongs into the first block"
        self._retry_due = False
        assert block.event is not None
        assert block.data is not None
        if block.id is None:
            # Not of the log: its end could not be had.
            assert block.event == "job_error"
            assert self._known.lost, f"told that the log was lost: {block.data!r}"
            self.over = True
            return
        assert block.id == self.cursor + 1, f"{block.id} after {self.cursor}"
        self._known.note(block.id, block.event, block.data)
        self.cursor = block.id

    def _refused(self, request: Request) -> None:
        if not request.task.done():
            return
        known, status = self._known, request.status
        if status == 204:
            assert known.end == self.cursor, f"204 at {self.cursor}, the end is {known.end}"
        elif status == 410:
            assert known.expired or known.lost
        elif status in (404, 421):
            # 421: its home may have it, for all that a broker can know after an outage.
            assert known.lost
        else:
            raise AssertionError(f"{status} at cursor {self.cursor}: {request.body!r}")
        self._gone()
        self.over = True

    def _gone(self) -> None:
        self._request = None
        self.twin = None

    @property
    def connected(self) -> bool:
        """Is there a connection that has not ended?"""
        return self._request is not None
