"""What alembic runs; the connection is the caller's (`store/migrate.py`)."""

from __future__ import annotations

from alembic import context

from control_plane.store.schema import METADATA

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=METADATA,
    # SQLite alters a table by making it anew.
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
