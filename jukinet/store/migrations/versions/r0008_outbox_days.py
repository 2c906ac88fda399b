"""How far the outbox went, day by day, so that old segments can leave it."""

import sqlalchemy as sa
from alembic import op

revision = "r0008"
down_revision = "r0007"


def upgrade() -> None:
    """Adds the table."""
    op.create_table(
        "outbox_days",
        sa.Column("day", sa.String(length=10), nullable=False, comment="YYYY-MM-DD in Japan"),
        sa.Column(
            "last_sequence",
            sa.BigInteger(),
            nullable=False,
            comment="of the outbox when the node first ran on that day",
        ),
        sa.PrimaryKeyConstraint("day"),
    )
