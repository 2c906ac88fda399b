"""Municipalities have a change brake."""

import sqlalchemy as sa
from alembic import op

revision = "r0005"
down_revision = "r0004"


def upgrade() -> None:
    """Adds the table; every municipality begins with nothing counted."""
    op.create_table(
        "brakes",
        sa.Column("municipality", sa.String(length=6), nullable=False),
        sa.Column("slot", sa.BigInteger(), nullable=False, comment="number of the newest five minutes since 1970"),
        sa.Column(
            "counts", sa.LargeBinary(), nullable=False, comment="changes, then deletions, by slot, the newest first"
        ),
        sa.Column("residents", sa.BigInteger(), nullable=False, comment="active ones, when they were last counted"),
        sa.Column("counted_at", sa.BigInteger(), nullable=False, comment="microseconds since 1970, UTC"),
        sa.Column("held_at", sa.BigInteger(), nullable=False, comment="microseconds since 1970, UTC; 0 = not held"),
        sa.Column(
            "lifted_until", sa.BigInteger(), nullable=False, comment="microseconds since 1970, UTC; by two operators"
        ),
        sa.PrimaryKeyConstraint("municipality"),
    )
