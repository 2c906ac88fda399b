"""A row of the history carries a checksum of what stands in it."""

import sqlalchemy as sa
from alembic import op

revision = "r0017"
down_revision = "r0016"


def upgrade() -> None:
    """Adds the column; rows that are there keep none, for the history is not changed."""
    op.add_column(
        "history",
        sa.Column(
            "checksum",
            sa.BigInteger(),
            nullable=True,
            comment="CRC-32 of the row but for its position; NULL in a row of an earlier version",
        ),
    )
