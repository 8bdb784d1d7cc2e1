"""One object for the equal parts of many grants.

Thousands of jobs have the same engines, limits and pacing: decoded one by one these took
0.9 KiB of each.
"""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from contracts.grants import Grant

T = TypeVar("T")

# More parts than any cluster has kinds of grants; a flood of others costs only what it saves.
_PARTS_MAX = 4096
_encode = msgspec.json.encode


class Sharing:
    """Keeps one of each part that it has seen. Parts are never changed."""

    def __init__(self) -> None:
        self._parts: dict[tuple[type[Any], bytes], Any] = {}

    def of(self, grant: Grant) -> Grant:
        """An equal grant; what is not its own alone is shared with others."""
        return msgspec.structs.replace(
            grant,
            user_id=self._one(grant.user_id),
            tier=self._one(grant.tier),
            engine=self._one(grant.engine),
            fallbacks=self._one(grant.fallbacks),
            limits=self._one(grant.limits),
            tools=self._one(grant.tools),
            inspection=self._one(grant.inspection),
            pacing=self._one(grant.pacing),
            reservation=self._one(grant.reservation),
        )

    def _one(self, part: T) -> T:
        if len(self._parts) > _PARTS_MAX:
            self._parts.clear()
        found: T = self._parts.setdefault((type(part), _encode(part)), part)
        return found
