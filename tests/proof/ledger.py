"""What is known of each job's log from everything that anybody was ever shown."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

from stream_broker.events import TERMINAL


@dataclass
class Known:
    """One job's log: event numbers to names and bytes of data, as first seen."""

    events: dict[int, tuple[str, bytes]] = field(default_factory=dict)
    end: int | None = None
    lost: bool = False
    expired: bool = False

    def note(self, seq: int, name: str, data: bytes) -> None:
        """Somebody was shown this. AssertionError when it does not fit what is known."""
        known = self.events.setdefault(seq, (name, data))
        assert known == (name, data), f"event {seq} was {known}, and now is {(name, data)}"
        if name in TERMINAL:
            assert self.end in (None, seq), f"two ends: {self.end} and {seq}"
            self.end = seq
        assert self.end is None or max(self.events) <= self.end, "something after the end"

    @property
    def last(self) -> int:
        """The greatest number that anybody was shown; 0 for none."""
        return max(self.events, default=0)

    def check_whole(self) -> None:
        """After the end: one gapless log with one end."""
        assert self.end == self.last, f"no end at {self.last}: {self.end}"
        assert sorted(self.events) == list(range(1, self.last + 1)), "a gap"

    def text(self) -> str:
        """The answer as the tokens have it."""
        said = [data for _, (name, data) in sorted(self.events.items()) if name == "token"]
        return "".join(json.loads(data)["token"] for data in said)
