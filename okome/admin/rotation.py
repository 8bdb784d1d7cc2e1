"""The signing key's dance: a new one is known everywhere before it signs anything.

`session_key_next` is accepted and signs nothing; then it becomes `session_key`, and what
was that becomes `session_key_previous`, which is accepted until its last token has expired.
A dance that was interrupted goes on where it was.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from okome.admin.client import Admin
from okome.credentials import ed25519_pem, write_secret
from okome.errors import OkomeError

# Brokers poll the policy every 2 s; twice, and some time to spare.
LEARNT_AFTER_S: Final = 5.0


def rotate(
    directory: Path,
    admin: Admin,
    *,
    at_once: bool,
    tell: Callable[[str], None],
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.time,
) -> dict[str, Any]:
    """Replaces the signing key in `directory`; returns which keys count now.

    Unless `at_once`, raises OkomeError while tokens of the last rotation's old key live.
    """
    current, previous = directory / "session_key", directory / "session_key_previous"
    following = directory / "session_key_next"
    if not following.exists():
        write_secret(following, ed25519_pem())
    state = admin.post("/signing-keys/reload")
    if not at_once and previous.exists():
        _require_spent(previous, float(state["token_ttl_s"]), clock())
    tell("the new key is made; waiting until every broker has it")
    sleep(LEARNT_AFTER_S)
    if at_once:
        previous.unlink(missing_ok=True)
    else:
        # Copied, not moved: at every moment there is a key that signs.
        write_secret(previous, current.read_bytes())
    following.replace(current)
    answer: dict[str, Any] = admin.post("/signing-keys/reload")
    return answer


def _require_spent(previous: Path, ttl_s: float, now: float) -> None:
    left_s = previous.stat().st_mtime + ttl_s - now
    if left_s > 0:
        raise OkomeError(
            f"tokens of the key before live for another {left_s / 60:.0f} min; "
            "try again then, or end them with --at-once"
        )
