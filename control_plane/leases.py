"""The arithmetic of concurrent-stream leases: slots scored by expiry, time as an argument.

A lease is live while `expires_at > now`. Wall-clock seconds, because leases outlive a
restart of this process. A holder that dies stops renewing, and its slot is free one TTL
after its last renewal: nothing has to notice the death.
"""

from __future__ import annotations

from dataclasses import dataclass

from contracts.problems import ProblemError


@dataclass(frozen=True, slots=True)
class LeaseRule:
    """At most `limit` live leases per user; each lives `ttl_s` seconds after a renewal."""

    limit: int
    ttl_s: float

    def expiry(self, now: float) -> float:
        """When a lease taken or renewed `now` dies without another renewal."""
        return now + self.ttl_s

    def admits(self, live: int) -> bool:
        """Whether one more stream fits beside `live` others."""
        return live < self.limit

    def may_renew(self, expires_at: float, live: int, now: float) -> bool:
        """A live lease may always go on. One that has expired (its holder could not reach us)
        comes back only while a slot is free: somebody else may hold its own by now."""
        return expires_at > now or self.admits(live)

    def refusal(self) -> ProblemError:
        """What a user with every slot taken is told."""
        return ProblemError(
            "too_many_streams",
            f"At most {self.limit} streams may run at once; end one, or wait for one to end.",
            fields={
                "RateLimit-Policy": f'"streams";q={self.limit};qu="concurrent-requests"',
                "RateLimit": '"streams";r=0',
            },
        )
