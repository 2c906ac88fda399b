"""The key of the witness, and the latest checkpoint of each log."""

import sqlalchemy as sa
from alembic import op

revision = "w0001"
down_revision = None


def upgrade() -> None:
    """Creates the tables."""
    op.create_table(
        "witness",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("key", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.CheckConstraint("id = 1", name="witness_one"),
    )
    op.create_table(
        "witnessed",
        sa.Column("origin", sa.String(length=255), nullable=False),
        sa.Column("note", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("origin"),
    )
