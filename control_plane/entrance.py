"""Coming in and going out: logins, their tokens, and how they end."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from sqlalchemy import Connection

from contracts.policy import SessionClaims
from contracts.problems import ProblemError
from contracts.tokens import TokenRefused, verify_token
from control_plane.auth import Identity, KeyProof, examine, unauthenticated
from control_plane.login_secret import LoginSecret, judge, new_secret
from control_plane.plane import Plane
from control_plane.signing import new_session
from control_plane.store.audit import Entry, note
from control_plane.store.enrolment import password_by_id, password_of, plain_name, set_password
from control_plane.store.logins import (
    add_login,
    end_everything_of,
    end_login,
    end_logins_of,
    find_login,
    login_of_token,
    turn_login,
)
from control_plane.store.standing import standing
from control_plane.store.tokens import note_token, revoke_token, spend_token

# A link is for now: it may lie in a terminal's history.
LINK_TTL_S: Final = 600.0
_TURNS: Final = "login turns"


@dataclass(frozen=True, slots=True)
class Opened:
    """A token, and the secret that renews it: None where there is none, or the browser has
    it. `until` (Unix seconds) is when the login ends if nobody uses it."""

    claims: SessionClaims
    secret: LoginSecret | None = None
    until: float = 0.0


class Entrance:
    """All of it over one plane. Methods raise ProblemError: `unauthenticated` for whatever
    proves nothing, `rate_limited`, and 503 when the store is away."""

    def __init__(self, plane: Plane) -> None:
        self._plane = plane

    async def by_key(self, api_key: str, address: str, *, stays: bool) -> Opened:
        """A login for an API key; with `stays` False a token and no more. Only a key opens
        one: a session cannot prolong itself."""
        plane, now = self._plane, self._plane.clock()
        self._attempt(None, address, now)
        try:
            proof = examine(api_key, plane.signer.public_keys, now)
            if not isinstance(proof, KeyProof):
                raise unauthenticated()
            identity = plane.roster.identify(proof, now)
        except ProblemError as problem:
            raise self._refused("nobody", problem) from None
        plane.throttle.succeeded(None, address, now)
        return await self.open(identity.user_id, identity.proof_id, "key", stays=stays)

    async def by_link(self, token: str, address: str) -> Opened:
        """A login for a token of a key, once and while it is fresh: what the launcher's link
        carries. One of a login opens none: a session cannot prolong itself."""
        plane, now = self._plane, self._plane.clock()
        self._attempt(None, address, now)
        try:
            claims = verify_token(token, plane.signer.public_keys, plane.roster.revoked, now)
        except TokenRefused:
            raise self._refused("nobody", unauthenticated()) from None
        key_id = None
        if claims.iat + LINK_TTL_S > now:
            key_id = await plane.database.run(
                lambda c: spend_token(c, claims.jti, now), durable=True
            )
        if key_id is None:
            raise self._refused(claims.sub, unauthenticated())
        await plane.reload_roster()
        plane.throttle.succeeded(None, address, now)
        return await self.open(claims.sub, key_id, "link")

    async def by_password(self, name: str, password: str, address: str) -> Opened:
        """A login for a name and a password. Whether the name is known makes no difference
        to the answer, nor to the time it takes."""
        plane, now, known = self._plane, self._plane.clock(), plain_name(name)
        self._attempt(known or "", address, now)
        found = None
        if known is not None:
            found = await plane.database.run(lambda c: password_of(c, known))
        user_id, kept = found or ("nobody", None)
        if not await plane.passwords.verify(kept, password):
            raise self._refused(user_id, unauthenticated())
        plane.throttle.succeeded(known or "", address, now)
        opened = await self.open(user_id, None, "password", kept=kept)
        if kept is not None and plane.passwords.is_outdated(kept):
            await self._rehash(user_id, kept, password)
        return opened

    async def open(
        self,
        user_id: str,
        key_id: str | None,
        method: str,
        *,
        stays: bool = True,
        kept: str | None = None,
    ) -> Opened:
        """A login for a user who has proven who it is; `kept` is the hash of the password
        that it knew, which may have been replaced while it was compared."""
        plane, now, secret = self._plane, self._plane.clock(), new_secret()
        plane.throttle.token(user_id, now)

        def work(connection: Connection) -> Opened | None:
            who = standing(connection, user_id, key_id, now)
            outdated = kept is not None and password_by_id(connection, user_id) != kept
            if who is None or outdated:
                return None
            until = self._until(who, now, now)
            opened, login_id = self._token(who, until if stays else who.expires_at, now), None
            if stays:
                login_id = add_login(
                    connection,
                    secret,
                    user_id=user_id,
                    key_id=key_id,
                    method=method,
                    expires_at=until,
                    now=now,
                )
            note_token(connection, opened, key_id=key_id, login_id=login_id)
            note(connection, Entry(at=now, actor=user_id, action="login", detail={"by": method}))
            return Opened(opened, secret if stays else None, until)

        opened = await plane.database.run(work)
        if opened is None:
            raise self._refused(user_id, unauthenticated())
        plane.metrics.logins.labels("ok").inc()
        return opened

    async def renew(self, secret: LoginSecret) -> Opened:
        """A fresh token for a login, and its next secret. One that was replaced before ends
        the login: two have it."""
        plane, now = self._plane, self._plane.clock()
        plane.throttle.token(secret.family_hash, now)
        following = secret.next(plane.signer.derive(_TURNS))

        def work(connection: Connection) -> Opened | str:
            row = find_login(connection, secret, now)
            if row is None:
                return "nobody"
            verdict = judge(secret, row.turn_hash, row.previous_hash, row.turned_at, now)
            who = standing(connection, row.user_id, row.key_id, now)
            if verdict == "replaced" or who is None:
                end_login(connection, row.id, now)
                note(connection, _ended(row.user_id, row.id, verdict, now))
                return str(row.user_id)
            until = self._until(who, row.created_at, now)
            if verdict == "current":
                turn_login(connection, row.id, following, until, now)
            claims = self._token(who, until, now)
            note_token(connection, claims, key_id=row.key_id, login_id=row.id)
            has_it = verdict == "again" and following.turn_hash != row.turn_hash
            return Opened(claims, None if has_it else following, until)

        opened = await plane.database.run(work)
        if isinstance(opened, str):
            await plane.reload_roster()
            raise self._refused(opened, unauthenticated())
        return opened

    async def leave(
        self, caller: Identity | None, secret: LoginSecret | None, *, everywhere: bool
    ) -> None:
        """Ends the login of a token or of a secret, or all that the user has.

        For `everywhere` one of the two must be good.
        """
        plane, now = self._plane, self._plane.clock()

        def work(connection: Connection) -> str | None:
            user_id, ids = caller.user_id if caller else None, set()
            row = find_login(connection, secret, now) if secret else None
            if row is not None and secret is not None:
                verdict = judge(secret, row.turn_hash, row.previous_hash, row.turned_at, now)
                if verdict != "replaced":
                    ids.add(row.id)
                    user_id = user_id or row.user_id
            if user_id is None:
                return None
            if everywhere:
                end_everything_of(connection, user_id, now)
            elif caller is not None and caller.method == "session":
                ids.add(login_of_token(connection, caller.proof_id))
                revoke_token(connection, caller.proof_id, now)
            for login_id in ids - {None}:
                end_login(connection, login_id, now)
            how = {"everywhere": everywhere}
            note(connection, Entry(at=now, actor=user_id, action="logout", detail=how))
            return user_id

        left = await plane.database.run(work, durable=True)
        if left is not None:
            await plane.reload_roster()
        elif everywhere:
            raise unauthenticated()

    async def change_password(
        self, caller: Identity, secret: LoginSecret | None, current: str, new: str, address: str
    ) -> None:
        """Replaces the caller's password, and ends its logins but the one it comes by.

        Raises ProblemError `invalid_request` where `current` is not the password.
        """
        plane, now = self._plane, self._plane.clock()
        user = plane.roster.user(caller.user_id)
        name = user.name if user else ""
        self._attempt(name, address, now)
        kept = await plane.database.run(lambda c: password_by_id(c, caller.user_id))
        if not await plane.passwords.verify(kept, current):
            plane.tally.add(caller.user_id, "password", "refused", now)
            raise ProblemError("invalid_request", "This is not the password.", field="current")
        plane.throttle.succeeded(name, address, now)
        hashed = await plane.passwords.hash(new)

        def work(connection: Connection) -> None:
            keep = login_of_token(connection, caller.proof_id)
            row = find_login(connection, secret, now) if secret and keep is None else None
            if password_by_id(connection, caller.user_id) != kept:
                raise unauthenticated()
            set_password(connection, caller.user_id, hashed)
            end_logins_of(connection, caller.user_id, now, keep or (str(row.id) if row else None))
            note(connection, Entry(at=now, actor=caller.user_id, action="password"))

        await plane.database.run(work, durable=True)
        await plane.reload_roster()

    async def _rehash(self, user_id: str, kept: str, password: str) -> None:
        hashed = await self._plane.passwords.hash(password)

        def work(connection: Connection) -> None:
            if password_by_id(connection, user_id) == kept:
                set_password(connection, user_id, hashed)

        await self._plane.database.run(work)

    def _attempt(self, name: str | None, address: str, now: float) -> None:
        try:
            self._plane.throttle.attempt(name, address, now)
        except ProblemError as problem:
            raise self._refused("nobody", problem) from None

    def _until(self, who: Identity, began: float, now: float) -> float:
        settings = self._plane.settings
        ends = [now + settings.login_ttl, began + settings.login_max]
        return min(ends if who.expires_at is None else [*ends, who.expires_at])

    def _token(self, who: Identity, until: float | None, now: float) -> SessionClaims:
        return new_session(replace(who, expires_at=until), self._plane.settings.session_ttl, now)

    def _refused(self, actor: str, problem: ProblemError) -> ProblemError:
        self._plane.metrics.logins.labels("refused").inc()
        self._plane.tally.add(actor, "login", problem.code, self._plane.clock())
        return problem


def _ended(user_id: str, login_id: str, verdict: str, now: float) -> Entry:
    why = "a replaced secret was used" if verdict == "replaced" else "its user or key is gone"
    detail = {"why": why}
    return Entry(
        at=now,
        actor=user_id,
        action="login.ended",
        subject=login_id,
        outcome=verdict,
        detail=detail,
    )
