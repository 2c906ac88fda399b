"""Recalls are found among those that no agency acknowledged yet, however many were in all the years."""

import sqlalchemy as sa
from alembic import op

revision = "g0008"
down_revision = "g0007"


def upgrade() -> None:
    """Puts an index of what is open in place of the one of everything."""
    is_open = sa.text("acknowledged_at IS NULL")
    op.create_index(
        "recalls_open",
        "recalls",
        ["agency", "purpose", "position", "noted_at"],
        sqlite_where=is_open,
        postgresql_where=is_open,
    )
    op.drop_index("recalls_by_purpose", "recalls")
