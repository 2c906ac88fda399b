"""Recalls of what was provided and was wrong (旧値の回収): what answers are found by, and who acknowledged."""

import sqlalchemy as sa
from alembic import op

revision = "g0007"
down_revision = "g0006"

_ITEMS = "items of the record, a bit for each by the number of its IdentityField"
_ROW_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Adds the tables, empty. Answers from before have no mark and are not recalled."""
    op.create_table(
        "provided",
        sa.Column("leaf_index", _ROW_ID, autoincrement=False, nullable=False, comment="of the answer's entry"),
        sa.Column("mark", sa.LargeBinary(), nullable=False, comment="recall mark of the record"),
        sa.Column("item_bits", sa.Integer(), nullable=False, comment=_ITEMS),
        sa.PrimaryKeyConstraint("leaf_index"),
    )
    op.create_index("provided_by_mark", "provided", ["mark"])
    op.create_table(
        "corrected",
        sa.Column("mark", sa.LargeBinary(), nullable=False, comment="under which an answer may have been under way"),
        sa.Column("correction", sa.LargeBinary(), nullable=False, comment="id at the center"),
        sa.Column("corrected_on", sa.String(length=10), nullable=False, comment="YYYY-MM-DD in Japan"),
        sa.Column("item_bits", sa.Integer(), nullable=False, comment=_ITEMS),
        sa.PrimaryKeyConstraint("mark", "correction"),
    )
    op.create_table(
        "recalls",
        sa.Column("position", _ROW_ID, autoincrement=True, nullable=False),
        sa.Column("leaf_index", sa.BigInteger(), nullable=False, comment="of the answer's entry"),
        sa.Column("correction", sa.LargeBinary(), nullable=False, comment="id at the center"),
        sa.Column("agency", sa.String(length=255), nullable=False, comment="SPIFFE ID"),
        sa.Column("purpose", sa.String(length=32), nullable=False, comment="row and item of the statute table"),
        sa.Column("corrected_on", sa.String(length=10), nullable=False, comment="YYYY-MM-DD in Japan"),
        sa.Column("item_bits", sa.Integer(), nullable=False, comment=_ITEMS),
        sa.Column("noted_at", sa.BigInteger(), nullable=False, comment="microseconds since 1970, UTC"),
        sa.Column("acknowledged_at", sa.BigInteger(), nullable=True, comment="the same; NULL until then"),
        sa.PrimaryKeyConstraint("position"),
        sa.UniqueConstraint("leaf_index", "correction", name="recalls_once"),
        sqlite_autoincrement=True,
    )
    op.create_index("recalls_by_purpose", "recalls", ["agency", "purpose", "position"])
    op.create_table(
        "recall_place",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False, comment="always 1"),
        sa.Column("position", sa.BigInteger(), nullable=False, comment="of the center, up to which all is known"),
        sa.Column("place", sa.LargeBinary(), nullable=False, comment="what the center said of that position"),
        sa.Column("leaves", sa.BigInteger(), nullable=False, comment="entries that were held against them"),
        sa.PrimaryKeyConstraint("id"),
    )
