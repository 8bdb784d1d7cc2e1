"""The log in the shape of `POST /chat`: `connected`, then `token` events, `[DONE]` last."""

from __future__ import annotations

from typing import Any

import msgspec

from stream_broker.events import Event


class ChatView:
    """Blocks of one answer. `sequence` counts tokens; `id:` is the log's number.

    `created_at`: when its job was made, in Unix seconds.
    """

    def __init__(self, conversation_id: str, created_at: float) -> None:
        self._conversation_id = conversation_id
        self._sequence = 0
        # `[DONE]` has no time of its own in the log: it has the last token's.
        self._last_at = created_at

    def opening(self) -> bytes:
        """The `connected` event."""
        return _block("connected", {"conversation_id": self._conversation_id})

    def blocks(self, events: list[Event]) -> bytes:
        """See View."""
        return b"".join([self._block(event) for event in events])

    def failure(self, event: Event) -> bytes:
        """See View."""
        return b"event: %b\ndata: %b\n\n" % (event.name.encode(), event.data)

    def _block(self, event: Event) -> bytes:
        if event.name == "token":
            body = event.body()
            self._last_at = body["ts"]
            return b"id: %d\n" % event.seq + self._token(body["token"], done=False)
        if event.name == "job_complete":
            return b"id: %d\n" % event.seq + self._token("[DONE]", done=True)
        # Reasoning, notices and unclean ends keep the native form: nothing is hidden.
        return event.block

    def _token(self, token: str, *, done: bool) -> bytes:
        self._sequence += 1
        return _block(
            "token",
            {
                "conversation_id": self._conversation_id,
                "token": token,
                "sequence": self._sequence,
                "done": done,
                "timestamp": self._last_at,
            },
        )


def _block(name: str, members: dict[str, Any]) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (name.encode(), msgspec.json.encode(members))
