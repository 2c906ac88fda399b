"""What agencies ask in a day through all gateways; empty at every tier but the center."""

import sqlalchemy as sa
from alembic import op

revision = "r0015"
down_revision = "r0014"


def upgrade() -> None:
    """Adds the counts, empty."""
    op.create_table(
        "asked_today",
        sa.Column("day", sa.String(length=10), nullable=False, comment="YYYY-MM-DD in Japan"),
        sa.Column("agency", sa.String(length=255), nullable=False, comment="SPIFFE ID"),
        sa.Column("name", sa.String(length=64), nullable=False, comment="of the limit in the budget, or the row"),
        sa.Column("asked", sa.BigInteger(), nullable=False, comment="no less than was asked"),
        sa.PrimaryKeyConstraint("day", "agency", "name"),
    )
