"""What the broker's tests build again and again: grants, heads, events, clocks."""

from __future__ import annotations

from typing import Any

from contracts.grants import EngineTarget, Grant, Lease, Limits, Reservation
from contracts.policy import KeyEntry, PolicyLimits, PolicyModel, PolicySnapshot, hash_key
from inventory.load import LOCAL, load_cluster
from inventory.model import Durability
from stream_broker.events import Event, EventEncoder
from stream_broker.ids import Home, new_job_id
from stream_broker.log.base import Append
from stream_broker.log.keys import KeySpace
from stream_broker.record import JobHead

NOW = 1_800_000_000.0
USER = "user-1"
API_KEY = "ok_alice"
HOME = Home(3, 0)
JOB = new_job_id(HOME, NOW, b"0123456789")
TARGET = EngineTarget(kind="vllm", base_url="http://127.0.0.1:1", model="m", continues=True)
LIFETIMES: dict[str, Any] = {"log_ttl": 900, "record_ttl": 86_400, "claim_ttl": 86_400}
KEYS = KeySpace(load_cluster(LOCAL))
OTHER_TARGET = EngineTarget(
    kind="ollama", base_url="http://127.0.0.1:2", model="m2", continues=True
)


class Clock:
    """A clock that stands still until it is told to move."""

    def __init__(self, now: float = NOW) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def job_id(number: int = 0, home: Home = HOME) -> str:
    """Different ids for different numbers."""
    return new_job_id(home, NOW + number, b"0123456789")


def grant(
    *,
    fallbacks: tuple[EngineTarget, ...] = (),
    max_tokens: int = 100,
    deadline_s: float = 600.0,
    detach_grace_s: float | None = None,
    degraded_until: float | None = None,
    quota_limited: bool = False,
    **more: Any,
) -> Grant:
    """A grant of the first engine."""
    return Grant(
        grant_id="g-1",
        user_id=USER,
        tier="free",
        engine=TARGET,
        fallbacks=list(fallbacks),
        limits=Limits(
            max_tokens=max_tokens,
            deadline_s=deadline_s,
            detach_grace_s=detach_grace_s,
            quota_limited=quota_limited,
        ),
        tools=[],
        inspection={},
        pacing={"mode": "off"},
        lease=Lease(id="l-1", ttl_s=30.0),
        reservation=Reservation(tokens=100),
        degraded_until=degraded_until,
        **more,
    )


def head(job: str = JOB, durability: Durability = "local", **changes: Any) -> JobHead:
    """A job's head. `changes` are members of JobHead."""
    members: dict[str, Any] = {
        "job_id": job,
        "user_id": USER,
        "kind": "job",
        "model": "small",
        "created_at": NOW,
        "durability": durability,
        "grant": grant(),
        "call": {"messages": [{"role": "user", "content": "hi"}]},
        "prompt_estimate": 5,
    }
    return JobHead(**members | changes)


def token(seq: int, text: str = "x", *, job: str = JOB, ts: float = NOW) -> Event:
    """A token event."""
    return EventEncoder(job).text(seq, "token", text, ts)


def tokens(first: int, last: int, *, job: str = JOB) -> list[Event]:
    """Token events `first` … `last`, each with its own text."""
    return [token(seq, f"t{seq} ", job=job) for seq in range(first, last + 1)]


def complete(seq: int, *, job: str = JOB) -> Event:
    """A clean end."""
    members = {
        "finish_reason": "stop",
        "usage": {"prompt_tokens": 5, "completion_tokens": seq - 1, "cached_tokens": 0},
        "metrics": {},
    }
    return EventEncoder(job).other(seq, "job_complete", members)


def failed(seq: int, *, job: str = JOB) -> Event:
    """An end by `log_unavailable`, as viewers of a lost log are told."""
    members = {"code": "log_unavailable", "message": "lost", "retryable": True, "usage": None}
    return EventEncoder(job).other(seq, "job_error", members)


def append(events: list[Event], epoch: int = 1, *, job: str = JOB) -> Append:
    """An entry of a flush."""
    ended_at = NOW + 9 if events[-1].terminal else None
    return Append(job, epoch, events, NOW + 1, ended_at)


def policy(**changes: Any) -> PolicySnapshot:
    """A snapshot with one user and two models; `changes` are members of it."""
    members: dict[str, Any] = {
        "version": "1",
        "issued_at": NOW,
        "key_hashes": {hash_key(API_KEY): KeyEntry(user_id=USER, tier="free", scopes=["generate"])},
        "revoked": [],
        "public_keys": [],
        "models": [
            PolicyModel(id="small", engines=[TARGET, OTHER_TARGET], context=2048, created=1),
            PolicyModel(id="big", engines=[OTHER_TARGET], context=2048, created=1, tiers=["paid"]),
        ],
        "tools": [],
        "limits": PolicyLimits(
            max_tokens=4096,
            default_max_tokens=512,
            deadline_s=600.0,
            streams_per_user=5,
            lease_ttl_s=30.0,
            detach_grace_s=30.0,
        ),
        "pacing": {},
    }
    return PolicySnapshot(**members | changes)
