"""Editions of the statute table, and what operators did to them: the same two tables as in a register."""

import sqlalchemy as sa
from alembic import op

from jukinet.store.append_only import append_only_ddl

revision = "g0003"
down_revision = "g0002"


def upgrade() -> None:
    """Adds both tables, guarded as records."""
    op.create_table(
        "editions",
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=16), nullable=False),
        sa.Column("in_force_from", sa.String(length=10), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("digest"),
    )
    op.create_table(
        "operator_acts",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("act", sa.String(length=16), nullable=False),
        sa.Column("municipality", sa.String(length=6), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("reason", sa.Integer(), nullable=False),
        sa.Column("operator", sa.Text(), nullable=False),
        sa.Column("acted_at", sa.BigInteger(), nullable=False),
        sa.Column("edition", sa.String(length=64), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    for table, key in (("editions", "digest"), ("operator_acts", "id")):
        for statement in append_only_ddl(table, op.get_bind().dialect.name, ((key,),)):
            op.execute(statement)
