"""What `/chat` remembers of a conversation: its last messages, for a day, bounded.

A cache next to the log, for clients that send one message at a time; the conversations
that a user keeps are the control plane's.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from stream_broker.log.base import LogUnavailable
from stream_broker.log.keys import KeySpace
from stream_broker.log.stores import Stores

Messages = list[dict[str, Any]]
# The answer of a job by its id, or None when it has none (yet).
Answer = Callable[[str], Awaitable[str | None]]

# Bytes of one remembered conversation, and conversations remembered in memory.
CONVERSATION_MAX = 32 << 10
_MEMORY_COUNT = 1024
# Stands in place of an answer that is still being generated.
PENDING = "answered_by"


def bounded(messages: Messages) -> Messages:
    """The latest messages that fit CONVERSATION_MAX, beginning with one of the user's."""
    room = CONVERSATION_MAX
    kept: Messages = []
    for message in reversed(messages):
        room -= len(msgspec.json.encode(message))
        if room < 0:
            break
        kept.append(message)
    kept.reverse()
    while kept and kept[0].get("role") != "user":
        kept.pop(0)
    return kept


class Conversations:
    """Remembers by user and conversation. Without Redis: in this process only."""

    def __init__(self, stores: Stores | None, keys: KeySpace, ttl: float) -> None:
        self._stores = stores
        self._keys = keys
        self._ttl = int(ttl)
        self._memory: OrderedDict[str, Messages] = OrderedDict()

    async def history(self, user_id: str, conversation_id: str, answer: Answer) -> Messages:
        """The messages so far; none when there are none or the store is away.

        An answer that has ended but has not been written here yet is asked for.
        """
        messages = await self._messages(_key(user_id, conversation_id))
        if messages and PENDING in messages[-1]:
            text = await answer(messages.pop()[PENDING])
            if text:
                messages.append({"role": "assistant", "content": text})
            else:
                messages.pop()
        return messages

    async def begin(
        self, user_id: str, conversation_id: str, messages: Messages, job_id: str
    ) -> None:
        """Remembers what was asked, and which job answers it."""
        await self.remember(user_id, conversation_id, [*messages, {PENDING: job_id}])

    async def _messages(self, key: str) -> Messages:
        if self._stores is None:
            return list(self._memory.get(key, []))
        try:
            keys = self._keys.of_claim(key)
            name = keys.conversation(key)
            raw = await self._stores.ask(keys.tag, lambda redis: redis.get(name))
        except LogUnavailable:
            return []
        messages: Messages = msgspec.json.decode(raw) if raw else []
        return messages

    async def remember(self, user_id: str, conversation_id: str, messages: Messages) -> None:
        """Replaces what is remembered. A store that is away forgets: it is a cache."""
        key = _key(user_id, conversation_id)
        kept = bounded(messages)
        if self._stores is None:
            self._memory[key] = kept
            self._memory.move_to_end(key)
            if len(self._memory) > _MEMORY_COUNT:
                self._memory.popitem(last=False)
            return
        try:
            keys = self._keys.of_claim(key)
            name, text = keys.conversation(key), msgspec.json.encode(kept)
            await self._stores.ask(keys.tag, lambda redis: redis.set(name, text, ex=self._ttl))
        except LogUnavailable:
            return


def _key(user_id: str, conversation_id: str) -> str:
    return hashlib.sha256(f"{user_id}\0{conversation_id}".encode()).hexdigest()
