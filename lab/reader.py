"""What a client has read of one job's stream, and what of it was late. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from itertools import pairwise

from lab.engine import SENT

# Shorter ones are no gaps: the engine sends every 25 ms.
GAP_S = 0.1


@dataclass(frozen=True, slots=True)
class Event:
    """`at`: when it was read (monotonic). `taken`: when the broker had it, and `sent`: when the
    engine sent it, both by the machine's clock; None for what is no token of the drill's engine."""

    at: float
    seq: int
    taken: float | None = None
    sent: float | None = None


@dataclass
class Stream:
    """What came of one job."""

    job: str
    events: list[Event] = field(default_factory=list)
    text: str = ""
    end: str = ""
    connections: int = 0
    repeated: int = 0
    notices: list[str] = field(default_factory=list)
    strange: list[str] = field(default_factory=list)

    @property
    def cursor(self) -> int:
        """Of the last event that came."""
        return self.events[-1].seq if self.events else 0

    def take(self, now: float, block: list[str]) -> None:
        """One event, as its lines."""
        fields = dict(line.split(": ", 1) for line in block if ": " in line)
        if "id" not in fields or "data" not in fields:
            # An end that no log could take has no place in it, so it comes without an id.
            if "event" in fields and fields["event"].startswith("job_"):
                self.end = f"{fields['event']} {json.loads(fields['data']).get('code', '')}"
            self.strange.append(" | ".join(block)[:200])
            return
        seq, data = int(fields["id"]), json.loads(fields["data"])
        if seq <= self.cursor:
            self.repeated += 1
            return
        name = fields.get("event", "")
        token = data.get("token", "") if name == "token" else ""
        sent = SENT.fullmatch(token)
        self.events.append(Event(now, seq, data.get("ts"), int(sent[2]) / 1000 if sent else None))
        self.text += token
        if name == "notice":
            self.notices.append(data["code"])
        elif name.startswith("job_"):
            self.end = f"{name} {data.get('code') or data.get('finish_reason') or ''}".strip()

    def summary(self, told: str | None) -> dict[str, object]:
        """`told`: the whole text, as the job's record has it."""
        lengths = sorted(b.at - a.at for a, b in pairwise(self.events))
        return {
            "home": self.job.partition("-")[0],
            "events": len(self.events),
            "lost": self.cursor - len(self.events),
            "repeated": self.repeated,
            "same_text": told == self.text,
            "skipped": _skipped(self.text),
            "end": self.end,
            "connections": self.connections,
            "notices": self.notices,
            "strange": self.strange,
            "gap_max_s": round(lengths[-1], 3) if lengths else None,
            "gap_p50_s": round(lengths[len(lengths) // 2], 3) if lengths else None,
            "gaps": [_gap(a, b) for a, b in pairwise(self.events) if b.at - a.at > GAP_S],
        }


def _skipped(text: str) -> int:
    """Words of the engine that are not where they should be in the answer; 0 for other texts."""
    numbers = [int(match[1]) for match in SENT.finditer(text)]
    return sum(number != place for place, number in enumerate(numbers, 1))


def _gap(a: Event, b: Event) -> dict[str, float | None]:
    """Where it came to be: `engine` and `broker` are how far apart the two were there."""
    return {
        "at": round(a.at, 3),
        "length": round(b.at - a.at, 3),
        "engine": round(b.sent - a.sent, 3) if a.sent and b.sent else None,
        "broker": round(b.taken - a.taken, 3) if a.taken and b.taken else None,
    }
