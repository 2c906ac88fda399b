"""Recalls of what was provided and was wrong (旧値の回収): what answers are found by, and who acknowledged."""

import sqlalchemy as sa
from alembic import op

revision = "g0007"
down_revision = "g0006"

_ROW_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Adds the tables, empty. Answers from before have no mark and are not recalled."""
    op.create_table(
        "provided",
        sa.Column("leaf_index", _ROW_ID, autoincrement=False, nullable=False),
        sa.Column("mark", sa.LargeBinary(), nullable=False),
        sa.Column("item_bits", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("leaf_index"),
    )
    op.create_index("provided_by_mark", "provided", ["mark"])
    op.create_table(
        "corrected",
        sa.Column("mark", sa.LargeBinary(), nullable=False),
        sa.Column("correction", sa.LargeBinary(), nullable=False),
        sa.Column("corrected_on", sa.String(length=10), nullable=False),
        sa.Column("item_bits", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("mark", "correction"),
    )
    op.create_table(
        "recalls",
        sa.Column("position", _ROW_ID, autoincrement=True, nullable=False),
        sa.Column("leaf_index", sa.BigInteger(), nullable=False),
        sa.Column("correction", sa.LargeBinary(), nullable=False),
        sa.Column("agency", sa.String(length=255), nullable=False),
        sa.Column("purpose", sa.String(length=32), nullable=False),
        sa.Column("corrected_on", sa.String(length=10), nullable=False),
        sa.Column("item_bits", sa.Integer(), nullable=False),
        sa.Column("noted_at", sa.BigInteger(), nullable=False),
        sa.Column("acknowledged_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("position"),
        sa.UniqueConstraint("leaf_index", "correction", name="recalls_once"),
        sqlite_autoincrement=True,
    )
    op.create_index("recalls_by_purpose", "recalls", ["agency", "purpose", "position"])
    op.create_table(
        "recall_place",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("place", sa.LargeBinary(), nullable=False),
        sa.Column("leaves", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
