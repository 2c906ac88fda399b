"""Secrets of months and of persons, from which the keys of bodies are derived."""

import sqlalchemy as sa
from alembic import op

revision = "k0001"
down_revision = None


def upgrade() -> None:
    """Creates the tables."""
    op.create_table(
        "months",
        sa.Column("month", sa.String(length=7), nullable=False),
        sa.Column("secret", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("month"),
        sa.CheckConstraint("length(secret) = 32", name="months_secret"),
    )
    op.create_table(
        "persons",
        sa.Column("person", sa.String(length=64), nullable=False),
        sa.Column("secret", sa.LargeBinary, nullable=False),
        sa.Column("made_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("person"),
        sa.CheckConstraint("length(secret) = 32", name="persons_secret"),
        sqlite_with_rowid=False,
    )
