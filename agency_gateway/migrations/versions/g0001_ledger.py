"""The ledger's tables, and the request ids that were used."""

import sqlalchemy as sa
from alembic import op

from jukinet.ledger import schema

revision = "g0001"
down_revision = None


def upgrade() -> None:
    """Creates the tables with their append-only triggers."""
    schema.create(op.get_bind(), schema.FOUNDING)
    op.create_table(
        "asked",
        sa.Column("agency", sa.String(length=255), nullable=False),
        sa.Column("request_id", sa.String(length=36), nullable=False),
        sa.PrimaryKeyConstraint("agency", "request_id"),
    )
