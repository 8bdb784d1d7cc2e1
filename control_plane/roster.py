"""Who may come in: users, keys and revoked tokens, in memory, as the database has them.

This process is the only one that changes them, and `load`s the roster anew after each
change; so a credential costs a look into a dictionary, here and in the policy snapshot.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import inf

import msgspec
from sqlalchemy import Connection

from contracts.policy import KeyEntry, SessionClaims
from control_plane.allowance import Allowance
from control_plane.auth import Identity, KeyProof, Proof, unauthenticated
from control_plane.store.keys import all_keys
from control_plane.store.limits import all_tiers
from control_plane.store.tokens import revoked_tokens
from control_plane.store.users import User, all_users


class Rows(msgspec.Struct, frozen=True, kw_only=True):
    """What a roster is made of. `keys`: hash -> (id, entry); `tiers`: what each is allowed."""

    users: dict[str, User]
    keys: dict[str, tuple[str, KeyEntry]]
    revoked: frozenset[str]
    tiers: dict[str, Allowance] = {}


def read_rows(connection: Connection, now: float) -> Rows:
    """The rows as they are now."""
    return Rows(
        users={user.id: user for user in all_users(connection)},
        keys=all_keys(connection),
        revoked=frozenset(revoked_tokens(connection, now)),
        tiers=all_tiers(connection),
    )


class Roster:
    """Answers for the rows it was given last. `version` counts how often that was.

    `streams`: what a user may run at once where neither it nor its tier says so, here or in
    the policy; `tier_streams` tells what the policy says of a tier.
    """

    def __init__(self, streams: int) -> None:
        self._streams = streams
        self.tier_streams: Callable[[str], int | None] = lambda _: None
        self._rows = Rows(users={}, keys={}, revoked=frozenset())
        self.version = 0

    def load(self, rows: Rows) -> None:
        """Replaces everything."""
        self._rows = rows
        self.version += 1

    def identify(self, proof: Proof, now: float) -> Identity:
        """The caller behind a proof. Raises ProblemError `unauthenticated` when the key or
        token is unknown, expired or revoked, or its user is gone."""
        if isinstance(proof, KeyProof):
            return self._by_key(proof, now)
        return self._by_token(proof)

    def user(self, user_id: str) -> User | None:
        """One user, disabled or not."""
        return self._rows.users.get(user_id)

    def users(self) -> Mapping[str, User]:
        """All of them by id."""
        return self._rows.users

    def allowance(self, user_id: str) -> Allowance:
        """What a user may use; nothing, for one that there is not."""
        user = self._rows.users.get(user_id)
        if user is None:
            return Allowance(streams=0)
        if user.allowance.streams is not None:
            return user.allowance
        streams = self.tier_streams(user.tier)
        return msgspec.structs.replace(
            user.allowance, streams=self._streams if streams is None else streams
        )

    def streams_of_tier(self, tier: str) -> int | None:
        """How many a user of the tier may have at once, as the store says; None: it does not."""
        return self._rows.tiers.get(tier, Allowance()).streams

    def key_entries(self, now: float) -> dict[str, KeyEntry]:
        """Every key that opens something, by its hash."""
        return {
            key_hash: entry
            for key_hash, (_, entry) in self._rows.keys.items()
            if entry.expires_at is None or entry.expires_at > now
        }

    def next_expiry(self, now: float) -> float:
        """When the next key ends, Unix seconds; infinite when none does."""
        ends = (entry.expires_at for _, entry in self._rows.keys.values())
        return min((end for end in ends if end is not None and end > now), default=inf)

    @property
    def revoked(self) -> frozenset[str]:
        """Ids of revoked tokens."""
        return self._rows.revoked

    def _by_key(self, proof: KeyProof, now: float) -> Identity:
        found = self._rows.keys.get(proof.key_hash)
        if found is None:
            raise unauthenticated()
        key_id, entry = found
        if entry.expires_at is not None and entry.expires_at <= now:
            raise unauthenticated()
        return Identity(
            entry.user_id, entry.tier, tuple(entry.scopes), "key", key_id, entry.expires_at
        )

    def _by_token(self, claims: SessionClaims) -> Identity:
        user = self._rows.users.get(claims.sub)
        if user is None or user.disabled_at is not None or claims.jti in self._rows.revoked:
            raise unauthenticated()
        return Identity(user.id, user.tier, tuple(claims.scopes), "session", claims.jti, claims.exp)
