"""Engines that an operator has taken out."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """The step."""
    op.create_table(
        "drained_engines",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("drained_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("drained_engines_pkey")),
    )
