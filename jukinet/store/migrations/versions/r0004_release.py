"""Parked changes can be set aside by two operators."""

import sqlalchemy as sa
from alembic import op

from jukinet.store.append_only import append_only_ddl

revision = "r0004"
down_revision = "r0003"

_APPEND_ONLY = {"operator_acts": (("id",),), "set_aside": (("id",), ("municipality", "epoch", "sequence"))}


def upgrade() -> None:
    """Adds the tables and guards the two that are records."""
    op.create_table(
        "operator_acts",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("act", sa.String(length=16), nullable=False, comment="propose, set aside or again"),
        sa.Column("municipality", sa.String(length=6), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False, comment="of the parked change"),
        sa.Column("sequence", sa.BigInteger(), nullable=False, comment="of the parked change"),
        sa.Column(
            "reason", sa.Integer(), nullable=False, comment="jukinet.errors.v1.ErrorReason that the operator looked at"
        ),
        sa.Column("operator", sa.Text(), nullable=False, comment="SPIFFE ID"),
        sa.Column("acted_at", sa.BigInteger(), nullable=False, comment="microseconds since 1970, UTC"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("operator_acts_on", "operator_acts", ["municipality", "epoch", "sequence"], unique=False)
    op.create_table(
        "set_aside",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column(
            "resident_code", sa.String(length=11), nullable=False, comment="as it was parked; empty = could not be read"
        ),
        sa.Column("municipality", sa.String(length=6), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column(
            "reason", sa.Integer(), nullable=False, comment="jukinet.errors.v1.ErrorReason for which it was parked"
        ),
        sa.Column("change", sa.LargeBinary(), nullable=False, comment="jukinet.register.v1.Change, as sealed"),
        sa.Column("parked_at", sa.BigInteger(), nullable=False, comment="microseconds since 1970, UTC"),
        sa.Column("proposed_by", sa.Text(), nullable=False, comment="SPIFFE ID of the first operator"),
        sa.Column("proposed_at", sa.BigInteger(), nullable=False, comment="microseconds since 1970, UTC"),
        sa.Column("carried_out_by", sa.Text(), nullable=False, comment="SPIFFE ID of the second operator"),
        sa.Column("carried_out_at", sa.BigInteger(), nullable=False, comment="microseconds since 1970, UTC"),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("municipality", "epoch", "sequence", name="set_aside_once"),
    )
    op.create_index("set_aside_by_resident", "set_aside", ["resident_code", "municipality"], unique=False)
    op.create_index("parked_by_code", "parked", ["resident_code", "version"], unique=False)
    for table, keys in _APPEND_ONLY.items():
        for statement in append_only_ddl(table, op.get_bind().dialect.name, keys):
            op.execute(statement)
