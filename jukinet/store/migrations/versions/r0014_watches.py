"""Lists of persons whose later changes (異動情報) an agency is told."""

import sqlalchemy as sa
from alembic import op

revision = "r0014"
down_revision = "r0010"

_ROW_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Adds the lists, empty, and the place in the history up to which they were looked through."""
    op.create_table(
        "watch_lists",
        sa.Column("list_id", sa.String(length=36), nullable=False, comment="UUID, chosen by the agency"),
        sa.Column("agency", sa.String(length=255), nullable=False, comment="SPIFFE ID"),
        sa.Column("purpose", sa.String(length=32), nullable=False, comment="row and item of the statute table"),
        sa.Column("fields", sa.String(length=16), nullable=False, comment="numbers of the IdentityFields, sorted"),
        sa.Column("expires_on", sa.String(length=10), nullable=False, comment="YYYY-MM-DD in Japan, the last day"),
        sa.Column("acknowledged", sa.BigInteger(), nullable=False, comment="position that the agency has on disk"),
        sa.PrimaryKeyConstraint("list_id"),
    )
    op.create_table(
        "watched",
        sa.Column("number", _ROW_ID, autoincrement=True, nullable=False),
        sa.Column("list_id", sa.String(length=36), nullable=False),
        sa.Column("resident_code", sa.String(length=11), nullable=False, comment="the present one"),
        sa.Column("method", sa.SmallInteger(), nullable=False, comment="jukinet.inquiry.v1.InquiryMethod"),
        sa.Column("since", sa.BigInteger(), nullable=False, comment="position of the history when it began"),
        sa.PrimaryKeyConstraint("number"),
        sa.UniqueConstraint("list_id", "resident_code", name="watched_once"),
    )
    op.create_index("watched_by_code", "watched", ["resident_code"])
    op.create_table(
        "watch_events",
        sa.Column("list_id", sa.String(length=36), nullable=False),
        sa.Column("position", sa.BigInteger(), autoincrement=False, nullable=False, comment="of the history"),
        sa.Column("number", sa.BigInteger(), nullable=False, comment="of the person on the list"),
        sa.PrimaryKeyConstraint("list_id", "position"),
    )
    op.create_table(
        "watch_mark",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False, comment="always 1"),
        sa.Column("position", sa.BigInteger(), nullable=False, comment="up to which the history was looked through"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.execute("INSERT INTO watch_mark (id, position) SELECT 1, COALESCE(MAX(position), 0) FROM history")
