"""Of whom it was found out: an engine that was away may be another one."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """The step."""
    op.add_column("proven_engines", sa.Column("identity", sa.Text(), nullable=True))
