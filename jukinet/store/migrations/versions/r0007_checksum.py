"""A resident's row carries a checksum of its message."""

import sqlalchemy as sa
from alembic import op

revision = "r0007"
down_revision = "r0006"


def upgrade() -> None:
    """Adds the column, where rows are kept and where they are staged; rows that are there have none yet."""
    for table in ("residents", "staged_residents"):
        op.add_column(
            table,
            sa.Column(
                "checksum",
                sa.BigInteger(),
                nullable=True,
                comment="CRC-32 of `resident`; NULL in a row of an earlier version",
            ),
        )
