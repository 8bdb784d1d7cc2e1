"""How often somebody may sign in, or try to. Pure: the time is an argument."""

from __future__ import annotations

import ipaddress
import math
from collections import OrderedDict
from typing import Final

from contracts.problems import ProblemError

# (attempts at once, seconds until one comes back)
PER_NAME: Final = (10, 30.0)
PER_ADDRESS: Final = (30, 5.0)
# Tokens of one user or login: each is kept until it expires, and revoked ones travel with
# every policy snapshot.
PER_OWNER: Final = (100, 10.0)
_ENTRIES_MAX: Final = 20_000


class Buckets:
    """One bucket of attempts per key. Nothing is kept of one that is full again.

    Beyond `most` keys the one that was used longest ago is forgotten: memory is bounded,
    and whoever fills it with keys is held up by another kind of bucket.
    """

    def __init__(self, size: int, refill_s: float, most: int = _ENTRIES_MAX) -> None:
        self._size = size
        self._refill_s = refill_s
        self._most = most
        # key -> when its bucket will be full again
        self._full_at: OrderedDict[str, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._full_at)

    def wait(self, key: str, now: float) -> float:
        """Seconds until `key` has an attempt, 0 if it has one."""
        missing_s = self._full_at.get(key, now) - now
        return max(0.0, missing_s - (self._size - 1) * self._refill_s)

    def take(self, key: str, now: float) -> None:
        """Takes one attempt."""
        self._full_at[key] = max(self._full_at.get(key, now), now) + self._refill_s
        self._full_at.move_to_end(key)
        while self._full_at and next(iter(self._full_at.values())) <= now:
            self._full_at.popitem(last=False)
        if len(self._full_at) > self._most:
            self._full_at.popitem(last=False)

    def give_back(self, key: str, now: float) -> None:
        """Returns one attempt."""
        if key in self._full_at:
            self._full_at[key] -= self._refill_s
            if self._full_at[key] <= now:
                del self._full_at[key]

    def forget(self, key: str) -> None:
        """Returns every attempt."""
        self._full_at.pop(key, None)


class LoginThrottle:
    """Attempts per name, known or not, and per address; tokens per user and login."""

    def __init__(self, most: int = _ENTRIES_MAX) -> None:
        self._names = Buckets(*PER_NAME, most)
        self._addresses = Buckets(*PER_ADDRESS, most)
        self._owners = Buckets(*PER_OWNER, most)

    def attempt(self, name: str | None, address: str, now: float) -> None:
        """Counts an attempt before it is made. Raises ProblemError `rate_limited`, and then
        counts none: who waits as told gets in. `name` is None where a key is tried."""
        place = network_of(address)
        wait = self._addresses.wait(place, now)
        if name is not None:
            wait = max(wait, self._names.wait(name, now))
        if wait > 0:
            raise _limited(wait, *PER_NAME)
        self._addresses.take(place, now)
        if name is not None:
            self._names.take(name, now)

    def succeeded(self, name: str | None, address: str, now: float) -> None:
        """The attempt was a good one. Only the name starts afresh: somebody with an account
        would else guess at others' from the same address for ever."""
        self._addresses.give_back(network_of(address), now)
        if name is not None:
            self._names.forget(name)

    def token(self, owner: str, now: float) -> None:
        """Counts a token that a user or a login is to get. Raises ProblemError
        `rate_limited`."""
        wait = self._owners.wait(owner, now)
        if wait > 0:
            raise _limited(wait, *PER_OWNER)
        self._owners.take(owner, now)


def network_of(address: str) -> str:
    """What counts as one place: an IPv4 address, or the /64 that a site has at the least."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return "unknown"
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((parsed, 64), strict=False))


def _limited(wait_s: float, size: int, refill_s: float) -> ProblemError:
    seconds = max(1, math.ceil(wait_s))
    return ProblemError(
        "rate_limited",
        "Too much signing in; wait as long as Retry-After says.",
        retry_after=seconds,
        fields={
            "RateLimit-Policy": f'"login";q={size};w={round(size * refill_s)}',
            "RateLimit": f'"login";r=0;t={seconds}',
        },
    )
