"""Leases of concurrent streams and reservations of tokens; the rule is in
`control_plane/leases.py`. Every function runs inside one transaction of the one writer,
so counting and taking a slot cannot be split by anybody else."""

from __future__ import annotations

import json
import secrets
import sqlite3
from collections.abc import Mapping, Sequence

from control_plane.leases import LeaseRule


def live_leases(connection: sqlite3.Connection, user_id: str, now: float) -> int:
    """How many streams of a user are running `now`."""
    (live,) = connection.execute(
        "SELECT count(*) FROM leases WHERE user_id = ? AND expires_at > ?", (user_id, now)
    ).fetchone()
    return int(live)


def all_live_leases(connection: sqlite3.Connection, now: float) -> int:
    """How many streams of all users are running `now`."""
    (live,) = connection.execute(
        "SELECT count(*) FROM leases WHERE expires_at > ?", (now,)
    ).fetchone()
    return int(live)


def take_lease(
    connection: sqlite3.Connection, user_id: str, node: str, rule: LeaseRule, now: float
) -> str:
    """Takes a slot and returns the id of its lease.

    Raises ProblemError `too_many_streams` when the user has none left.
    """
    if not rule.admits(live_leases(connection, user_id, now)):
        raise rule.refusal()
    lease_id = f"lease_{secrets.token_hex(12)}"
    connection.execute(
        "INSERT INTO leases VALUES (?, ?, ?, ?, ?)",
        (lease_id, user_id, node, now, rule.expiry(now)),
    )
    return lease_id


def renew_leases(
    connection: sqlite3.Connection, ids: Sequence[str], rule: LeaseRule, now: float
) -> list[str]:
    """Renews leases and returns the ids that hold no slot: settled, never given, or expired
    while their slot went to another stream."""
    renewed = connection.execute(
        "UPDATE leases SET expires_at = ?"
        " WHERE expires_at > ? AND id IN (SELECT value FROM json_each(?)) RETURNING id",
        (rule.expiry(now), now, json.dumps(list(ids))),
    ).fetchall()
    missing = dict.fromkeys(ids)
    for (lease_id,) in renewed:
        missing.pop(lease_id, None)
    return [lease_id for lease_id in missing if not _revive(connection, lease_id, rule, now)]


def _revive(connection: sqlite3.Connection, lease_id: str, rule: LeaseRule, now: float) -> bool:
    row = connection.execute(
        "SELECT user_id, expires_at FROM leases WHERE id = ?", (lease_id,)
    ).fetchone()
    if row is None:
        return False
    user_id, expires_at = row
    if not rule.may_renew(expires_at, live_leases(connection, user_id, now), now):
        return False
    connection.execute(
        "UPDATE leases SET expires_at = ? WHERE id = ?", (rule.expiry(now), lease_id)
    )
    return True


def acquire_leases(
    connection: sqlite3.Connection,
    holders: Mapping[str, str],
    node: str,
    rule: LeaseRule,
    now: float,
) -> list[str]:
    """Takes slots for jobs that run, lease id -> user id; returns the ids for which the user
    has none left. Lease ids that hold a slot already keep it."""
    return [
        lease_id
        for lease_id, user_id in holders.items()
        if not _acquire(connection, lease_id, user_id, node, rule, now)
    ]


def _acquire(
    connection: sqlite3.Connection,
    lease_id: str,
    user_id: str,
    node: str,
    rule: LeaseRule,
    now: float,
) -> bool:
    if not renew_leases(connection, [lease_id], rule, now):
        return True
    known = connection.execute("SELECT 1 FROM users WHERE id = ?", (user_id,)).fetchone()
    if known is None or not rule.admits(live_leases(connection, user_id, now)):
        return False
    connection.execute(
        "INSERT OR REPLACE INTO leases VALUES (?, ?, ?, ?, ?)",
        (lease_id, user_id, node, now, rule.expiry(now)),
    )
    return True


def free_lease(connection: sqlite3.Connection, lease_id: str) -> None:
    """Gives a slot back. Idempotent."""
    connection.execute("DELETE FROM leases WHERE id = ?", (lease_id,))


def reserve(
    connection: sqlite3.Connection,
    grant_id: str,
    user_id: str,
    tokens: int,
    expires_at: float,
    now: float,
) -> None:
    """Sets tokens aside until the settlement, or until `expires_at` if none ever comes."""
    connection.execute(
        "INSERT INTO reservations VALUES (?, ?, ?, ?, ?)",
        (grant_id, user_id, tokens, now, expires_at),
    )


def release(connection: sqlite3.Connection, grant_id: str) -> None:
    """Drops a reservation. Idempotent."""
    connection.execute("DELETE FROM reservations WHERE grant_id = ?", (grant_id,))


def reserved_tokens(connection: sqlite3.Connection, user_id: str, now: float) -> int:
    """Tokens set aside for a user's running jobs."""
    (tokens,) = connection.execute(
        "SELECT coalesce(sum(tokens), 0) FROM reservations WHERE user_id = ? AND expires_at > ?",
        (user_id, now),
    ).fetchone()
    return int(tokens)


def prune(connection: sqlite3.Connection, longest_job_s: float, now: float) -> None:
    """Forgets what no running job can still hold: leases a job's length past their expiry
    (until then a renewal may bring one back), and reservations past theirs."""
    connection.execute("DELETE FROM leases WHERE expires_at < ?", (now - longest_job_s,))
    connection.execute("DELETE FROM reservations WHERE expires_at < ?", (now,))
