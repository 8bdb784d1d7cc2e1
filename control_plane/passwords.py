"""Passwords: argon2id, in threads of their own, never more at once than the memory allows."""

from __future__ import annotations

import asyncio
import secrets
import unicodedata
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from argon2 import Parameters, PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from argon2.profiles import RFC_9106_LOW_MEMORY

from contracts.problems import ProblemError

# The second recommended option of RFC 9106, section 4: 64 MiB, 3 passes, 4 lanes.
COST: Final = RFC_9106_LOW_MEMORY
LEAST: Final = 10  # characters
MOST: Final = 1024
_AT_ONCE: Final = 2
_WAITING_MAX: Final = 32


def check_password(password: str, field: str) -> None:
    """Raises ProblemError `invalid_request` for one that is not to be set."""
    if not LEAST <= len(password) <= MOST:
        raise ProblemError(
            "invalid_request", f"A password has {LEAST} to {MOST} characters.", field=field
        )


class Passwords:
    """Hashes and verifies. `cost` makes tests quick. `close` when done."""

    def __init__(self, cost: Parameters = COST) -> None:
        self._hasher = PasswordHasher.from_parameters(cost)
        self._threads = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="passwords")
        self._waiting = 0
        # What a password is compared with where there is none: it must cost the same.
        self._nobody = self._hasher.hash(secrets.token_bytes(32))

    def close(self) -> None:
        """Ends the threads."""
        self._threads.shutdown()

    async def hash(self, password: str) -> str:
        """The form in which a password is kept. Raises ProblemError `rate_limited`."""
        return str(await self._run(self._hash, password))

    async def verify(self, kept: str | None, password: str) -> bool:
        """Whether `password` is the one that is kept; None is never, and costs the same time.

        Raises ProblemError `rate_limited` while too many others wait.
        """
        matches = await self._run(self._matches, kept or self._nobody, password)
        return bool(matches) and bool(kept)

    def is_outdated(self, kept: str) -> bool:
        """Whether it was hashed with another cost than is used now."""
        return self._hasher.check_needs_rehash(kept)

    def _hash(self, password: str) -> str:
        return self._hasher.hash(_bytes(password))

    def _matches(self, kept: str, password: str) -> bool:
        try:
            return self._hasher.verify(kept, _bytes(password))
        except (VerificationError, InvalidHashError):
            return False

    async def _run(self, work: object, *arguments: str) -> object:
        if self._waiting >= _WAITING_MAX:
            raise ProblemError("rate_limited", "Too many are signing in; try again.", retry_after=2)
        self._waiting += 1
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._threads, work, *arguments)  # type: ignore[arg-type]
        finally:
            self._waiting -= 1


def _bytes(password: str) -> bytes:
    """The same for every keyboard that composes its letters differently."""
    return unicodedata.normalize("NFC", password).encode("utf-8", "surrogatepass")
