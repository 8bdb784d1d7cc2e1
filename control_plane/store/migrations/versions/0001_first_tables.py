"""The first tables."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """The step."""
    _installation()
    _users()
    _keys()
    _logins()
    _usage()
    _settlements()
    _conversations()


def _installation() -> None:
    """This installation, and what was done in it."""
    op.create_table(
        "installation",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("installation_pkey")),
    )
    op.create_table(
        "audit",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("audit_pkey")),
    )
    op.create_index(op.f("audit_by_at"), "audit", ["at"], unique=False)


def _users() -> None:
    """Who there is, and what they may use."""
    op.create_table(
        "tiers",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("streams", sa.Integer(), nullable=True),
        sa.Column("requests_day", sa.BigInteger(), nullable=True),
        sa.Column("tokens_day", sa.BigInteger(), nullable=True),
        sa.Column("requests_month", sa.BigInteger(), nullable=True),
        sa.Column("tokens_month", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("name", name=op.f("tiers_pkey")),
    )
    op.create_table(
        "users",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("tier", sa.Text(), nullable=False),
        sa.Column("password", sa.Text(), nullable=True),
        sa.Column("subject", sa.Text(), nullable=True),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("disabled_at", sa.Double(), nullable=True),
        sa.ForeignKeyConstraint(["tier"], ["tiers.name"], name=op.f("users_tier_fkey")),
        sa.PrimaryKeyConstraint("id", name=op.f("users_pkey")),
        sa.UniqueConstraint("name", name=op.f("users_unique_name")),
        sa.UniqueConstraint("subject", name=op.f("users_unique_subject")),
    )
    op.create_table(
        "allowances",
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("streams", sa.Integer(), nullable=True),
        sa.Column("requests_day", sa.BigInteger(), nullable=True),
        sa.Column("tokens_day", sa.BigInteger(), nullable=True),
        sa.Column("requests_month", sa.BigInteger(), nullable=True),
        sa.Column("tokens_month", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("allowances_user_id_fkey")),
        sa.PrimaryKeyConstraint("user_id", name=op.f("allowances_pkey")),
    )


def _keys() -> None:
    """What programs show."""
    op.create_table(
        "api_keys",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.Column("prefix", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("scopes", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("expires_at", sa.Double(), nullable=True),
        sa.Column("revoked_at", sa.Double(), nullable=True),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("api_keys_user_id_fkey")),
        sa.PrimaryKeyConstraint("id", name=op.f("api_keys_pkey")),
        sa.UniqueConstraint("hash", name=op.f("api_keys_unique_hash")),
    )
    op.create_index(
        op.f("api_keys_by_user_id_created_at"), "api_keys", ["user_id", "created_at"], unique=False
    )


def _logins() -> None:
    """What browsers show."""
    op.create_table(
        "logins",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("key_id", sa.Text(), nullable=True),
        sa.Column("secret_hash", sa.Text(), nullable=False),
        sa.Column("turn_hash", sa.Text(), nullable=False),
        sa.Column("previous_hash", sa.Text(), nullable=True),
        sa.Column("turned_at", sa.Double(), nullable=False),
        sa.Column("method", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("seen_at", sa.Double(), nullable=False),
        sa.Column("expires_at", sa.Double(), nullable=False),
        sa.Column("ended_at", sa.Double(), nullable=True),
        sa.ForeignKeyConstraint(["key_id"], ["api_keys.id"], name=op.f("logins_key_id_fkey")),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("logins_user_id_fkey")),
        sa.PrimaryKeyConstraint("id", name=op.f("logins_pkey")),
        sa.UniqueConstraint("secret_hash", name=op.f("logins_unique_secret_hash")),
    )
    op.create_index(
        op.f("logins_by_user_id_created_at"), "logins", ["user_id", "created_at"], unique=False
    )
    op.create_table(
        "issued_tokens",
        sa.Column("jti", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("key_id", sa.Text(), nullable=True),
        sa.Column("login_id", sa.Text(), nullable=True),
        sa.Column("expires_at", sa.Double(), nullable=False),
        sa.Column("revoked_at", sa.Double(), nullable=True),
        sa.ForeignKeyConstraint(
            ["key_id"], ["api_keys.id"], name=op.f("issued_tokens_key_id_fkey")
        ),
        sa.ForeignKeyConstraint(
            ["login_id"], ["logins.id"], name=op.f("issued_tokens_login_id_fkey")
        ),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("issued_tokens_user_id_fkey")),
        sa.PrimaryKeyConstraint("jti", name=op.f("issued_tokens_pkey")),
    )
    op.create_index(
        op.f("issued_tokens_by_expires_at"), "issued_tokens", ["expires_at"], unique=False
    )
    op.create_index(op.f("issued_tokens_by_user_id"), "issued_tokens", ["user_id"], unique=False)


def _usage() -> None:
    """What is granted, and what was used."""
    op.create_table(
        "grants",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("lease_id", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("node", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("tokens", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("lease_until", sa.Double(), nullable=False),
        sa.Column("reserved_until", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("grants_user_id_fkey")),
        sa.PrimaryKeyConstraint("id", name=op.f("grants_pkey")),
        sa.UniqueConstraint("lease_id", name=op.f("grants_unique_lease_id")),
    )
    op.create_table(
        "usage",
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("period", sa.Text(), nullable=False),
        sa.Column("requests", sa.BigInteger(), nullable=False),
        sa.Column("tokens", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("user_id", "period", name=op.f("usage_pkey")),
    )


def _settlements() -> None:
    """Every job that has ended."""
    op.create_table(
        "settlements",
        sa.Column("job_id", sa.Text(), nullable=False),
        sa.Column("grant_id", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("session_id", sa.Text(), nullable=True),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("engine", sa.Text(), nullable=False),
        sa.Column("node", sa.Text(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("code", sa.Text(), nullable=True),
        sa.Column("prompt_tokens", sa.BigInteger(), nullable=False),
        sa.Column("completion_tokens", sa.BigInteger(), nullable=False),
        sa.Column("cached_tokens", sa.BigInteger(), nullable=False),
        sa.Column("estimated", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("first_token_at", sa.Double(), nullable=True),
        sa.Column("ended_at", sa.Double(), nullable=False),
        sa.Column("settled_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("job_id", name=op.f("settlements_pkey")),
    )
    op.create_index(op.f("settlements_by_created_at"), "settlements", ["created_at"], unique=False)
    op.create_index(
        op.f("settlements_by_user_id_created_at"),
        "settlements",
        ["user_id", "created_at"],
        unique=False,
    )


def _conversations() -> None:
    """What users keep."""
    op.create_table(
        "conversations",
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("title", sa.LargeBinary(), nullable=False),
        sa.Column("renamed", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("updated_at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("conversations_user_id_fkey")),
        sa.PrimaryKeyConstraint("user_id", "id", name=op.f("conversations_pkey")),
    )
    op.create_index(
        op.f("conversations_by_updated_at"), "conversations", ["updated_at"], unique=False
    )
    op.create_index(
        op.f("conversations_by_user_id_updated_at"),
        "conversations",
        ["user_id", "updated_at"],
        unique=False,
    )
    op.create_table(
        "messages",
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("conversation_id", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.Column("job_id", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=True),
        sa.Column("outcome", sa.Text(), nullable=True),
        sa.Column("code", sa.Text(), nullable=True),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(
            ["user_id", "conversation_id"],
            ["conversations.user_id", "conversations.id"],
            name=op.f("messages_user_id_fkey"),
        ),
        sa.PrimaryKeyConstraint("user_id", "conversation_id", "number", name=op.f("messages_pkey")),
    )
    op.create_index(
        op.f("messages_by_user_id_conversation_id_created_at_number"),
        "messages",
        ["user_id", "conversation_id", "created_at", "number"],
        unique=False,
    )
    op.create_table(
        "forgotten",
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("conversation_hash", sa.Text(), nullable=False),
        sa.Column("deleted_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("user_id", "conversation_hash", name=op.f("forgotten_pkey")),
    )
    op.create_index(op.f("forgotten_by_deleted_at"), "forgotten", ["deleted_at"], unique=False)
