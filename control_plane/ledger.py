"""Who runs how much, and who has how much left: the state behind every grant.

Pure: time is an argument, nothing is awaited, so a decision cannot be split by another
one. The database has every grant and every settlement; `load` makes a ledger of them
when the process starts, and what is not in the database never was (`undo`).

A stream's slot is live while `lease_until > now`: a holder that dies stops renewing, and
its slot is free one TTL after its last renewal. Its tokens stay set aside until the
settlement says what was used, or until `reserved_until` when none ever comes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

import msgspec

from contracts.problems import ProblemError
from control_plane.allowance import SPANS, Allowance, Span, Unit, ends_at, period_of

_SECONDS: Final[dict[Span, int]] = {"day": 86_400, "month": 2_592_000}


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


class _Account(msgspec.Struct):
    """One user. `open` by grant id, `periods` by name."""

    open: dict[str, OpenGrant] = {}
    periods: dict[str, Sums] = {}

    def sums(self, period: str) -> Sums:
        return self.periods.setdefault(period, Sums())

    def live(self, now: float) -> int:
        return sum(grant.lease_until > now for grant in self.open.values())

    def full(self, allowance: Allowance, now: float) -> bool:
        """Exact only where it matters: a user may have thousands of streams."""
        limit = allowance.streams
        return limit is not None and len(self.open) >= limit and self.live(now) >= limit


class Ledger:
    """`lease_ttl` in seconds; `reserved_s`: how long tokens stay set aside for a job whose
    settlement never comes."""

    def __init__(self, lease_ttl: float, reserved_s: float) -> None:
        self._lease_ttl = lease_ttl
        self._reserved_s = reserved_s
        self._accounts: dict[str, _Account] = {}
        self._by_lease: dict[str, OpenGrant] = {}

    def load(
        self, open_grants: Iterable[OpenGrant], used: Iterable[tuple[str, str, int, int]]
    ) -> None:
        """What the database has: grants that are open, and (user, period, requests, tokens)."""
        for user_id, period, requests, tokens in used:
            sums = self._account(user_id).sums(period)
            sums.requests, sums.tokens = requests, tokens
        for grant in open_grants:
            self._put(grant)

    def admit(
        self,
        allowance: Allowance,
        grant: OpenGrant,
        prompt_tokens: int,
        max_tokens: int,
        now: float,
    ) -> Admission:
        """Takes a slot and sets the estimate aside; `grant` gets its times and tokens here.

        Raises ProblemError `too_many_streams` or `quota_exceeded`; then nothing is taken.
        """
        account = self._account(grant.user_id)
        if account.full(allowance, now):
            raise too_many_streams(allowance.streams or 0)
        self._check_requests(account, allowance, now)
        left = self._tokens_left(account, allowance, now)
        granted = max_tokens
        if left is not None:
            tokens, span, limit = left
            if tokens - prompt_tokens < 1:
                raise quota_exceeded("tokens", span, limit, max(0, tokens), now)
            granted = min(max_tokens, tokens - prompt_tokens)
        grant.tokens = prompt_tokens + granted
        grant.created_at = now
        grant.lease_until = now + self._lease_ttl
        grant.reserved_until = now + self._reserved_s
        self._put(grant)
        return Admission(grant, granted, limited=granted < max_tokens)

    def undo(self, grant: OpenGrant) -> None:
        """The grant was not kept by the database: it never was. Idempotent."""
        self._take_away(grant)

    def renew(
        self, lease_ids: Iterable[str], allowance_of: Callable[[str], Allowance], now: float
    ) -> tuple[list[OpenGrant], list[str]]:
        """The grants that keep their slots, renewed, and the leases that hold none.

        A live lease may always go on. One that has expired (its holder could not reach us)
        comes back only while a slot is free: somebody else may hold its own by now.
        """
        kept: list[OpenGrant] = []
        lost: list[str] = []
        for lease_id in lease_ids:
            grant = self._by_lease.get(lease_id)
            if grant is None or not self._may_go_on(grant, allowance_of, now):
                lost.append(lease_id)
            else:
                grant.lease_until = now + self._lease_ttl
                kept.append(grant)
        return kept, lost

    def acquire(
        self, lease_id: str, user_id: str, node: str, allowance: Allowance, now: float
    ) -> OpenGrant | None:
        """A slot for a job that runs without one; None when the user has none left."""
        account = self._account(user_id)
        if account.full(allowance, now):
            return None
        grant = OpenGrant(
            id=lease_id,
            lease_id=lease_id,
            user_id=user_id,
            node=node,
            model="",
            tokens=0,
            created_at=now,
            lease_until=now + self._lease_ttl,
            reserved_until=now + self._reserved_s,
        )
        self._put(grant)
        return grant

    def grant_of(self, user_id: str, grant_id: str, lease_id: str) -> OpenGrant | None:
        """The open grant that a settlement ends."""
        account = self._accounts.get(user_id)
        found = account.open.get(grant_id) if account else None
        return found or self._by_lease.get(lease_id)

    def is_open(self, grant: OpenGrant) -> bool:
        """Does the ledger still have this very grant?"""
        account = self._accounts.get(grant.user_id)
        return account is not None and account.open.get(grant.id) is grant

    def settled(self, user_id: str, open_grant: OpenGrant | None, at: float, tokens: int) -> None:
        """A job that was granted at Unix time `at` has used `tokens`."""
        if open_grant is not None:
            self._take_away(open_grant)
        account = self._account(user_id)
        for span in SPANS:
            sums = account.sums(period_of(at, span))
            sums.requests += 1
            sums.tokens += tokens

    def expire(self, now: float) -> list[OpenGrant]:
        """Forgets grants whose settlement never came, and periods that are over; returns
        the grants."""
        current = {period_of(now, span) for span in SPANS}
        gone: list[OpenGrant] = []
        for user_id, account in list(self._accounts.items()):
            expired = [g for g in account.open.values() if g.reserved_until <= now]
            for grant in expired:
                self._take_away(grant)
            gone += expired
            needed = current | {
                period_of(g.created_at, span) for g in account.open.values() for span in SPANS
            }
            for period in [name for name in account.periods if name not in needed]:
                del account.periods[period]
            if not account.open and not account.periods:
                del self._accounts[user_id]
        return gone

    def live_streams(self, user_id: str, now: float) -> int:
        """How many streams of a user are running."""
        account = self._accounts.get(user_id)
        return account.live(now) if account else 0

    def all_live_streams(self, now: float) -> int:
        """How many streams of all users are running."""
        return sum(account.live(now) for account in self._accounts.values())

    def taken(self, user_id: str, unit: Unit, span: Span, now: float) -> int:
        """Used and set aside in the current day or month."""
        account = self._accounts.get(user_id)
        sums = account.periods.get(period_of(now, span)) if account else None
        return sums.taken(unit) if sums else 0

    def _account(self, user_id: str) -> _Account:
        return self._accounts.setdefault(user_id, _Account())

    def _put(self, grant: OpenGrant) -> None:
        account = self._account(grant.user_id)
        account.open[grant.id] = grant
        self._by_lease[grant.lease_id] = grant
        for span in SPANS:
            sums = account.sums(period_of(grant.created_at, span))
            sums.open_requests += grant.requests
            sums.open_tokens += grant.tokens

    def _take_away(self, grant: OpenGrant) -> None:
        account = self._account(grant.user_id)
        if account.open.pop(grant.id, None) is None:
            return
        self._by_lease.pop(grant.lease_id, None)
        for span in SPANS:
            sums = account.sums(period_of(grant.created_at, span))
            sums.open_requests -= grant.requests
            sums.open_tokens -= grant.tokens

    def _may_go_on(
        self, grant: OpenGrant, allowance_of: Callable[[str], Allowance], now: float
    ) -> bool:
        if grant.lease_until > now:
            return True
        limit = allowance_of(grant.user_id).streams
        return limit is None or self._account(grant.user_id).live(now) < limit

    def _check_requests(self, account: _Account, allowance: Allowance, now: float) -> None:
        for span in SPANS:
            limit = allowance.limit("requests", span)
            if limit is not None and account.sums(period_of(now, span)).taken("requests") >= limit:
                raise quota_exceeded("requests", span, limit, 0, now)

    def _tokens_left(
        self, account: _Account, allowance: Allowance, now: float
    ) -> tuple[int, Span, int] | None:
        """The scarcest: what is left, of which span, of how many. None: unlimited."""
        found: tuple[int, Span, int] | None = None
        for span in SPANS:
            limit = allowance.limit("tokens", span)
            if limit is None:
                continue
            left = limit - account.sums(period_of(now, span)).taken("tokens")
            if found is None or left < found[0]:
                found = (left, span, limit)
        return found


def too_many_streams(limit: int) -> ProblemError:
    """What a user with every slot taken is told."""
    return ProblemError(
        "too_many_streams",
        f"At most {limit} streams may run at once; end one, or wait for one to end.",
        fields={
            "RateLimit-Policy": f'"streams";q={limit};qu="concurrent-requests"',
            "RateLimit": '"streams";r=0',
        },
    )


def quota_exceeded(unit: Unit, span: Span, limit: int, left: int, now: float) -> ProblemError:
    """What a user is told who has too little left for one more token or request.

    Fields as in draft-ietf-httpapi-ratelimit-headers-10, the partition being the caller.
    """
    wait = max(1, int(ends_at(now, span) - now) + 1)
    name = f'"{unit}-{span}"'
    return ProblemError(
        "quota_exceeded",
        f"The {unit} of this {span} ({limit}) are used up or set aside for running jobs.",
        retry_after=wait,
        fields={
            "RateLimit-Policy": f'{name};q={limit};w={_SECONDS[span]};qu="{unit}"',
            "RateLimit": f"{name};r={left};t={wait}",
        },
    )
