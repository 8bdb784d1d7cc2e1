"""The cookie that keeps a browser signed in, and what a replaced one means. Pure.

`FAMILY.TURN`: the first part belongs to one login for its whole life, the second is
replaced each time a token is renewed. So a secret that was copied is noticed as soon as
both copies have been used: one of them is an old turn. Only hashes are kept.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass
from typing import Final, Literal

# Two tabs, or a repeat of a request whose answer was lost, may use a turn twice within this.
GRACE_S: Final = 10.0
_FORM: Final = re.compile(r"[A-Za-z0-9_-]{43}\.[A-Za-z0-9_-]{43}")

Verdict = Literal["current", "again", "replaced"]


@dataclass(frozen=True, slots=True, repr=False)
class LoginSecret:
    """The cookie's two parts. Its repr shows neither."""

    family: str
    turn: str

    def __repr__(self) -> str:
        return "LoginSecret(…)"

    def __str__(self) -> str:
        return f"{self.family}.{self.turn}"

    @property
    def family_hash(self) -> str:
        """By which the login is found."""
        return _hash(self.family)

    @property
    def turn_hash(self) -> str:
        """What its current turn is compared with."""
        return _hash(self.turn)

    def next(self, key: bytes) -> LoginSecret:
        """Its successor, the same however often it is asked for; nobody without `key` can
        make it. So both of two tabs get the same."""
        digest = hmac.digest(key, self.turn.encode(), "sha256")
        return LoginSecret(self.family, base64.urlsafe_b64encode(digest).decode().rstrip("="))


def new_secret() -> LoginSecret:
    """A fresh one: twice 256 random bits."""
    return LoginSecret(secrets.token_urlsafe(32), secrets.token_urlsafe(32))


def parse_secret(cookie: str | None) -> LoginSecret | None:
    """The cookie's value, None for anything that no cookie of ours can be."""
    if cookie is None or not _FORM.fullmatch(cookie):
        return None
    family, _, turn = cookie.partition(".")
    return LoginSecret(family, turn)


def judge(
    given: LoginSecret, turn_hash: str, previous_hash: str | None, turned_at: float, now: float
) -> Verdict:
    """Which turn of its login was given: the one that counts, the one before it within
    the grace, or one that was replaced."""
    if hmac.compare_digest(given.turn_hash, turn_hash):
        return "current"
    before = hmac.compare_digest(given.turn_hash, previous_hash or "")
    return "again" if before and now - turned_at <= GRACE_S else "replaced"


def _hash(part: str) -> str:
    return hashlib.sha256(part.encode()).hexdigest()
