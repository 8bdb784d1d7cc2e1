"""The tables. Times are Unix seconds, hashes are SHA-256 in hex.

`store/migrations/` brings a database here step by step; a test compares the two.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
)

# Constraints need names, or no later step could change them.
METADATA: Final = MetaData(
    naming_convention={
        "ix": "%(table_name)s_by_%(column_0_N_name)s",
        "uq": "%(table_name)s_unique_%(column_0_N_name)s",
        "fk": "%(table_name)s_%(column_0_N_name)s_fkey",
        "pk": "%(table_name)s_pkey",
    }
)

# The one row: when this database was first set up.
installation: Final = Table(
    "installation",
    METADATA,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("created_at", Double, nullable=False),
)

# What is allowed to all users of a tier; null is unlimited.
tiers: Final = Table(
    "tiers",
    METADATA,
    Column("name", Text, primary_key=True),
    Column("streams", Integer),
    Column("requests_day", BigInteger),
    Column("tokens_day", BigInteger),
    Column("requests_month", BigInteger),
    Column("tokens_month", BigInteger),
)

# `subject`: issuer and `sub` of an OpenID Connect login. A user without a password and
# without a subject has API keys only.
users: Final = Table(
    "users",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("tier", Text, ForeignKey("tiers.name"), nullable=False),
    Column("password", Text),
    Column("subject", Text, unique=True),
    Column("created_at", Double, nullable=False),
    Column("disabled_at", Double),
)

# What one user is allowed beside the tier: null is as the tier has it.
allowances: Final = Table(
    "allowances",
    METADATA,
    Column("user_id", Text, ForeignKey("users.id"), primary_key=True),
    Column("streams", Integer),
    Column("requests_day", BigInteger),
    Column("tokens_day", BigInteger),
    Column("requests_month", BigInteger),
    Column("tokens_month", BigInteger),
)

api_keys: Final = Table(
    "api_keys",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("user_id", Text, ForeignKey("users.id"), nullable=False),
    Column("hash", Text, nullable=False, unique=True),
    Column("prefix", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("scopes", Text, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("expires_at", Double),
    Column("revoked_at", Double),
    Index(None, "user_id", "created_at"),
)

# A browser that is signed in. The cookie that renews its tokens has two parts: one stays
# (`secret_hash`), the other changes with every use (`turn_hash`, before that `previous_hash`).
logins: Final = Table(
    "logins",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("user_id", Text, ForeignKey("users.id"), nullable=False),
    Column("key_id", Text, ForeignKey("api_keys.id")),
    Column("secret_hash", Text, nullable=False, unique=True),
    Column("turn_hash", Text, nullable=False),
    Column("previous_hash", Text),
    Column("turned_at", Double, nullable=False),
    Column("method", Text, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("seen_at", Double, nullable=False),
    Column("expires_at", Double, nullable=False),
    Column("ended_at", Double),
    Index(None, "user_id", "created_at"),
)

# Signed tokens that may still be accepted somewhere: to end a user, a key or a login is to
# revoke what was made from it.
issued_tokens: Final = Table(
    "issued_tokens",
    METADATA,
    Column("jti", Text, primary_key=True),
    Column("user_id", Text, ForeignKey("users.id"), nullable=False),
    Column("key_id", Text, ForeignKey("api_keys.id")),
    Column("login_id", Text, ForeignKey("logins.id")),
    Column("expires_at", Double, nullable=False),
    Column("revoked_at", Double),
    Index(None, "user_id"),
    Index(None, "expires_at"),
)

# Jobs that were granted and are not settled: a slot among the user's streams until
# `lease_until`, and tokens set aside until `reserved_until`.
grants: Final = Table(
    "grants",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("lease_id", Text, nullable=False, unique=True),
    Column("user_id", Text, ForeignKey("users.id"), nullable=False),
    Column("node", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("tokens", BigInteger, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("lease_until", Double, nullable=False),
    Column("reserved_until", Double, nullable=False),
)

# What was used in one day (`2026-11-21`) or month (`2026-11`), UTC; also by users that a
# database restored from a backup does not know.
usage: Final = Table(
    "usage",
    METADATA,
    Column("user_id", Text, primary_key=True),
    Column("period", Text, primary_key=True),
    Column("requests", BigInteger, nullable=False),
    Column("tokens", BigInteger, nullable=False),
)

settlements: Final = Table(
    "settlements",
    METADATA,
    Column("job_id", Text, primary_key=True),
    Column("grant_id", Text, nullable=False),
    Column("user_id", Text, nullable=False),
    Column("session_id", Text),
    Column("model", Text, nullable=False),
    Column("engine", Text, nullable=False),
    Column("node", Text, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("code", Text),
    Column("prompt_tokens", BigInteger, nullable=False),
    Column("completion_tokens", BigInteger, nullable=False),
    Column("cached_tokens", BigInteger, nullable=False),
    Column("estimated", Boolean, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("first_token_at", Double),
    Column("ended_at", Double, nullable=False),
    Column("settled_at", Double, nullable=False),
    Index(None, "user_id", "created_at"),
    Index(None, "created_at"),
)

# Engines that get no new jobs, by their names in the inventory.
drained_engines: Final = Table(
    "drained_engines",
    METADATA,
    Column("name", Text, primary_key=True),
    Column("drained_at", Double, nullable=False),
)

# Whether engines go on behind a text, as it was found out last.
proven_engines: Final = Table(
    "proven_engines",
    METADATA,
    Column("kind", Text, primary_key=True),
    Column("base_url", Text, primary_key=True),
    Column("model", Text, primary_key=True),
    Column("continues", Boolean, nullable=False),
    Column("trims", Boolean, nullable=False),
    Column("proven_at", Double, nullable=False),
    Column("identity", Text),
)

conversations: Final = Table(
    "conversations",
    METADATA,
    Column("user_id", Text, ForeignKey("users.id"), primary_key=True),
    Column("id", Text, primary_key=True),
    Column("title", LargeBinary, nullable=False),
    Column("renamed", Boolean, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("updated_at", Double, nullable=False),
    Index(None, "user_id", "updated_at"),
    Index(None, "updated_at"),
)

# What a user has deleted, by a hash of its id alone: a job that was under way then must
# not bring it back.
forgotten: Final = Table(
    "forgotten",
    METADATA,
    Column("user_id", Text, primary_key=True),
    Column("conversation_hash", Text, primary_key=True),
    Column("deleted_at", Double, nullable=False),
    Index(None, "deleted_at"),
)

# `content` and titles are encrypted (see `sealing.py`). `created_at` is the job's, for all
# that was asked and answered in it; with `number` it orders a conversation. `outcome` is
# of answers.
messages: Final = Table(
    "messages",
    METADATA,
    Column("user_id", Text, primary_key=True),
    Column("conversation_id", Text, primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("role", Text, nullable=False),
    Column("content", LargeBinary, nullable=False),
    Column("job_id", Text, nullable=False),
    Column("model", Text),
    Column("outcome", Text),
    Column("code", Text),
    Column("created_at", Double, nullable=False),
    ForeignKeyConstraint(
        ["user_id", "conversation_id"], ["conversations.user_id", "conversations.id"]
    ),
    Index(None, "user_id", "conversation_id", "created_at", "number"),
)

# Who did or was refused what. `detail` is a JSON object without secrets and prompts.
audit: Final = Table(
    "audit",
    METADATA,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("at", Double, nullable=False),
    Column("actor", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("detail", Text, nullable=False),
    Index(None, "at"),
)
