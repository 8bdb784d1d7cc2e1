"""The schema, as numbered steps. A step that was released is never edited; add another."""

from __future__ import annotations

import sqlite3
from typing import Final

# Times are Unix seconds (REAL). Hashes are SHA-256 in hex.
MIGRATIONS: Final[tuple[tuple[str, ...], ...]] = (
    (
        """CREATE TABLE users (
            id TEXT PRIMARY KEY,
            tier TEXT NOT NULL,
            created_at REAL NOT NULL
        ) STRICT""",
        """CREATE TABLE api_keys (
            id TEXT PRIMARY KEY,
            user_id TEXT NOT NULL REFERENCES users (id),
            hash TEXT NOT NULL UNIQUE,
            prefix TEXT NOT NULL,
            scopes TEXT NOT NULL,
            created_at REAL NOT NULL,
            expires_at REAL,
            revoked_at REAL
        ) STRICT""",
        "CREATE INDEX api_keys_by_user ON api_keys (user_id, created_at)",
        # Tokens issued and not yet expired: revoking a key revokes what was made from it.
        """CREATE TABLE issued_tokens (
            jti TEXT PRIMARY KEY,
            key_id TEXT NOT NULL REFERENCES api_keys (id),
            expires_at REAL NOT NULL
        ) STRICT""",
        "CREATE INDEX issued_tokens_by_key ON issued_tokens (key_id)",
        """CREATE TABLE revoked_tokens (
            jti TEXT PRIMARY KEY,
            expires_at REAL NOT NULL
        ) STRICT""",
        """CREATE TABLE leases (
            id TEXT PRIMARY KEY,
            user_id TEXT NOT NULL REFERENCES users (id),
            node TEXT NOT NULL,
            created_at REAL NOT NULL,
            expires_at REAL NOT NULL
        ) STRICT""",
        "CREATE INDEX leases_by_user ON leases (user_id, expires_at)",
        """CREATE TABLE reservations (
            grant_id TEXT PRIMARY KEY,
            user_id TEXT NOT NULL REFERENCES users (id),
            tokens INTEGER NOT NULL,
            created_at REAL NOT NULL,
            expires_at REAL NOT NULL
        ) STRICT""",
        "CREATE INDEX reservations_by_user ON reservations (user_id, expires_at)",
        """CREATE TABLE settlements (
            job_id TEXT PRIMARY KEY,
            grant_id TEXT NOT NULL,
            user_id TEXT NOT NULL,
            session_id TEXT,
            model TEXT NOT NULL,
            engine TEXT NOT NULL,
            node TEXT NOT NULL,
            outcome TEXT NOT NULL,
            code TEXT,
            prompt_tokens INTEGER NOT NULL,
            completion_tokens INTEGER NOT NULL,
            cached_tokens INTEGER NOT NULL,
            estimated INTEGER NOT NULL,
            created_at REAL NOT NULL,
            first_token_at REAL,
            ended_at REAL NOT NULL,
            settled_at REAL NOT NULL
        ) STRICT""",
        "CREATE INDEX settlements_by_user ON settlements (user_id, model)",
    ),
)


class SchemaError(Exception):
    """The file was written by a newer version of this program."""


def migrate(connection: sqlite3.Connection, now: float) -> None:
    """Brings the schema to the newest step, each step in a transaction of its own.

    Raises SchemaError.
    """
    connection.execute(
        "CREATE TABLE IF NOT EXISTS migrations"
        " (number INTEGER PRIMARY KEY, applied_at REAL NOT NULL) STRICT"
    )
    (done,) = connection.execute("SELECT coalesce(max(number), 0) FROM migrations").fetchone()
    if done > len(MIGRATIONS):
        raise SchemaError(
            f"its schema is step {done}, this program knows {len(MIGRATIONS)} steps;"
            " start the version that wrote it, or a newer one"
        )
    for number, statements in enumerate(MIGRATIONS[done:], start=done + 1):
        connection.execute("BEGIN IMMEDIATE")
        for statement in statements:
            connection.execute(statement)
        connection.execute("INSERT INTO migrations VALUES (?, ?)", (number, now))
        connection.execute("COMMIT")


def installed_at(connection: sqlite3.Connection) -> float:
    """When this database was first set up, Unix seconds."""
    (applied_at,) = connection.execute(
        "SELECT applied_at FROM migrations WHERE number = 1"
    ).fetchone()
    return float(applied_at)
