"""What one user holds: open grants, and the sums of its days and months. Pure."""

from __future__ import annotations

import msgspec

from control_plane.allowance import Allowance, Unit


class OpenGrant(msgspec.Struct, kw_only=True):
    """A job that was granted and is not settled. `tokens` are set aside for it.

    Of a lease that was taken again for a running job only the slot is known: its `id` is
    that of the lease then, and no request is counted before its settlement.
    """

    id: str
    lease_id: str
    user_id: str
    node: str
    model: str
    tokens: int
    created_at: float
    lease_until: float
    reserved_until: float

    @property
    def requests(self) -> int:
        """Requests that it counts for until it is settled."""
        return 0 if self.id == self.lease_id else 1


class Admission(msgspec.Struct, frozen=True):
    """Leave for one job. `limited`: the quota made `max_tokens` smaller than was asked."""

    grant: OpenGrant
    max_tokens: int
    limited: bool


class Sums(msgspec.Struct):
    """Used and set aside in one period."""

    requests: int = 0
    tokens: int = 0
    open_requests: int = 0
    open_tokens: int = 0

    def taken(self, unit: Unit) -> int:
        """What is not left any more."""
        if unit == "requests":
            return self.requests + self.open_requests
        return self.tokens + self.open_tokens


class Account(msgspec.Struct):
    """One user. `open` by grant id, `periods` by name."""

    open: dict[str, OpenGrant] = {}
    periods: dict[str, Sums] = {}

    def sums(self, period: str) -> Sums:
        """Those of a period, made where there are none."""
        return self.periods.setdefault(period, Sums())

    def live(self, now: float) -> int:
        """How many slots are taken."""
        return sum(grant.lease_until > now for grant in self.open.values())

    def full(self, allowance: Allowance, now: float) -> bool:
        """Exact only where it matters: a user may have thousands of streams."""
        limit = allowance.streams
        return limit is not None and len(self.open) >= limit and self.live(now) >= limit
