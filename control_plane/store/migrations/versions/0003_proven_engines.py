"""What was found out of engines, for the next start."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """The step."""
    op.create_table(
        "proven_engines",
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("base_url", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("continues", sa.Boolean(), nullable=False),
        sa.Column("trims", sa.Boolean(), nullable=False),
        sa.Column("proven_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("kind", "base_url", "model", name=op.f("proven_engines_pkey")),
    )
