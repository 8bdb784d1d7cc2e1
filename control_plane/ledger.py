"""Who runs how much, and who has how much left: the state behind every grant.

Pure: time is an argument, nothing is awaited, so a decision cannot be split by another
one. The database has every grant and every settlement; `load` makes a ledger of them
when the process starts, and what is not in the database never was (`undo`).

A stream's slot is live while `lease_until > now`: a holder that dies stops renewing, and
its slot is free one TTL after its last renewal. Its tokens stay set aside until the
settlement says what was used, or until `reserved_until` when none ever comes. A job
counts for the day and the month in which it was granted, whenever it ends.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from control_plane.allowance import SPANS, UNITS, Allowance, Span, Unit, period_of
from control_plane.holdings import Account, Admission, OpenGrant
from control_plane.refusals import quota_exceeded, too_many_streams

# The sums of yesterday stay, for a clock that is set back a little.
_KEPT_S: Final = 86_400.0


class Ledger:
    """`lease_ttl` in seconds; `reserved_s`: how long tokens stay set aside for a job whose
    settlement never comes."""

    def __init__(self, lease_ttl: float, reserved_s: float) -> None:
        self._lease_ttl = lease_ttl
        self._reserved_s = reserved_s
        self._accounts: dict[str, Account] = {}
        # In the order of their times: all are set aside for equally long.
        self._by_lease: dict[str, OpenGrant] = {}
        self._expired_at = 0.0
        self._kept: set[str] = set()

    def load(
        self,
        open_grants: Iterable[OpenGrant],
        used: Iterable[tuple[str, str, int, int]],
        now: float,
    ) -> None:
        """What the database has: grants that are open, and (user, period, requests, tokens)."""
        self.set_used(used)
        for grant in sorted(open_grants, key=lambda grant: grant.created_at):
            self._put(grant)
        self._shorten(now)

    def set_used(self, used: Iterable[tuple[str, str, int, int]]) -> None:
        """Sums as the database has them: (user, period, requests, tokens)."""
        for user_id, period, requests, tokens in used:
            sums = self._account(user_id).sums(period)
            sums.requests, sums.tokens = requests, tokens

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
        left = _tokens_left(account, allowance, prompt_tokens + 1, now)
        granted = max_tokens if left is None else min(max_tokens, left - prompt_tokens)
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
        for lease_id in dict.fromkeys(lease_ids):
            grant = self._by_lease.get(lease_id)
            if grant is None or not self._may_go_on(grant, allowance_of, now):
                lost.append(lease_id)
            else:
                grant.lease_until = now + self._lease_ttl
                kept.append(grant)
        return kept, lost

    def end(self, user_id: str, lease_ids: Iterable[str], now: float) -> None:
        """Jobs of this user have ended, says who ran them: their slots are free, and their tokens
        set aside until the settlement comes. Those of others are left alone."""
        for lease_id in lease_ids:
            grant = self._by_lease.get(lease_id)
            if grant is not None and grant.user_id == user_id:
                grant.lease_until = min(grant.lease_until, now)

    def acquire(
        self, lease_id: str, user_id: str, node: str, allowance: Allowance, now: float
    ) -> OpenGrant | None:
        """A slot for a job that runs without one. None when the user has none left, or when
        the lease is known, so that `renew` decides."""
        if lease_id in self._by_lease or self._account(user_id).full(allowance, now):
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

    def open_grant(self, grant_id: str) -> OpenGrant | None:
        """The open grant of this id. Looks at all: for what happens seldom."""
        return next((grant for grant in self._by_lease.values() if grant.id == grant_id), None)

    def open_grants(self) -> list[OpenGrant]:
        """All of them, the oldest first."""
        return list(self._by_lease.values())

    def holds(self, grant_id: str, lease_id: str) -> bool:
        """Is this grant open, with this lease?"""
        found = self._by_lease.get(lease_id)
        return found is not None and found.id == grant_id

    def close(self, grant: OpenGrant) -> None:
        """The grant's job has ended: nothing is set aside for it any more. Idempotent."""
        self._take_away(grant)

    def add(self, user_id: str, granted_at: float, tokens: int) -> None:
        """A job that was granted at Unix time `granted_at` has used `tokens`."""
        account = self._account(user_id)
        for span in SPANS:
            sums = account.sums(period_of(granted_at, span))
            sums.requests += 1
            sums.tokens += tokens

    def expire(self, now: float) -> list[OpenGrant]:
        """Forgets grants whose settlement never came, and periods that are over; returns
        the grants."""
        if now < self._expired_at:
            self._shorten(now)
        self._expired_at = now
        self._forget_periods(now)
        gone: list[OpenGrant] = []
        for grant in self._by_lease.values():
            if grant.reserved_until > now:
                break
            if grant.lease_until <= now:  # whoever renews it still runs it
                gone.append(grant)
        for grant in gone:
            self._take_away(grant)
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

    def _account(self, user_id: str) -> Account:
        return self._accounts.setdefault(user_id, Account())

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

    def _shorten(self, now: float) -> None:
        """The clock was set back: nothing is held for longer than if it was taken now."""
        for grant in self._by_lease.values():
            grant.lease_until = min(grant.lease_until, now + self._lease_ttl)
            grant.reserved_until = min(grant.reserved_until, now + self._reserved_s)

    def _forget_periods(self, now: float) -> None:
        kept = {period_of(moment, span) for moment in (now, now - _KEPT_S) for span in SPANS}
        if kept == self._kept:
            return
        self._kept = kept
        for user_id, account in list(self._accounts.items()):
            running = account.open.values()
            needed = kept | {period_of(g.created_at, span) for g in running for span in SPANS}
            account.periods = {
                name: sums for name, sums in account.periods.items() if name in needed
            }
            if not account.open and not account.periods:
                del self._accounts[user_id]


def _tokens_left(account: Account, allowance: Allowance, least: int, now: float) -> int | None:
    """How many tokens may be set aside, None: any number. Raises ProblemError
    `quota_exceeded` where it is less than `least`, or no request is left."""
    found: int | None = None
    # The month first: of two that are used up the one that ends later is told.
    for span in reversed(SPANS):
        sums = account.sums(period_of(now, span))
        for unit in UNITS:
            limit = allowance.limit(unit, span)
            if limit is None:
                continue
            left = limit - sums.taken(unit)
            if left < (1 if unit == "requests" else least):
                raise quota_exceeded(unit, span, limit, max(0, left), now)
            if unit == "tokens":
                found = left if found is None else min(found, left)
    return found
