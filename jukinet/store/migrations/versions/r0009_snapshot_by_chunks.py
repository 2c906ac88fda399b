"""A snapshot's chunks go into the register as they come, none is staged; who has no alias is in no index of them."""

import sqlalchemy as sa
from alembic import op

revision = "r0009"
down_revision = "r0008"


def upgrade() -> None:
    """Forgets what is staged, which its sender brings again, and drops the tables for it; makes that index anew."""
    there = sa.text("alias_key <> ''")
    op.drop_index("residents_by_alias", table_name="residents")
    op.create_index(
        "residents_by_alias", "residents", ["alias_key", "birth_date"], sqlite_where=there, postgresql_where=there
    )
    for table in ("staged_changes", "staged_residents", "snapshots"):
        op.drop_table(table)
    op.execute(sa.text("DELETE FROM snapshot_chunks"))
    op.create_table(
        "snapshots",
        sa.Column("municipality", sa.String(length=6), nullable=False),
        sa.Column("source", sa.Text(), nullable=False, comment="SPIFFE ID of the sender that offered it"),
        sa.Column("manifest", sa.LargeBinary(), nullable=False, comment="jukinet.link.v1.Manifest, as signed"),
        sa.Column("seal", sa.LargeBinary(), nullable=False),
        sa.Column("begun", sa.SmallInteger(), nullable=False, comment="1 = something of it is in the register"),
        sa.PrimaryKeyConstraint("municipality"),
    )
