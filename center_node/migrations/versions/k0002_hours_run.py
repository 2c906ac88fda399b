"""How long the center ran since a month's secret was destroyed by itself: one row."""

import sqlalchemy as sa
from alembic import op

revision = "k0002"
down_revision = "k0001"


def upgrade() -> None:
    """Creates the table with its row; the hours before the upgrade do not count."""
    hours_run = op.create_table("hours_run", sa.Column("hours", sa.Integer, nullable=False))
    op.bulk_insert(hours_run, [{"hours": 0}])
