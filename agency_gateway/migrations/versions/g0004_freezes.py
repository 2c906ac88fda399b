"""Frozen operators of agencies: who was frozen for what, and who released him."""

import sqlalchemy as sa
from alembic import op

from jukinet.store.append_only import append_only_ddl

revision = "g0004"
down_revision = "g0003"


def upgrade() -> None:
    """Adds the table, guarded as a record."""
    op.create_table(
        "freeze_acts",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("act", sa.String(length=16), nullable=False),
        sa.Column("agency", sa.Text(), nullable=False),
        sa.Column("operator", sa.LargeBinary(), nullable=False),
        sa.Column("detector", sa.String(length=16), nullable=False),
        sa.Column("acted_by", sa.Text(), nullable=False),
        sa.Column("acted_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    for statement in append_only_ddl("freeze_acts", op.get_bind().dialect.name, (("id",),)):
        op.execute(statement)
