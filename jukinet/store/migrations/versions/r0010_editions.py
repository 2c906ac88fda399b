"""Editions of the statute table stand side by side, each approved by two operators."""

import sqlalchemy as sa
from alembic import op

from jukinet.store.append_only import append_only_ddl

revision = "r0010"
down_revision = "r0009"


def upgrade() -> None:
    """Adds the table of editions, guarded as a record, and lets an operator's act name one."""
    op.add_column(
        "operator_acts",
        sa.Column(
            "edition",
            sa.String(length=64),
            nullable=True,
            comment="SHA-256 of the edition acted on, hexadecimal; NULL for another act",
        ),
    )
    op.create_table(
        "editions",
        sa.Column("digest", sa.String(length=64), nullable=False, comment="SHA-256 of its file, hexadecimal"),
        sa.Column("name", sa.String(length=16), nullable=False, comment="such as 2026-04"),
        sa.Column("in_force_from", sa.String(length=10), nullable=False, comment="YYYY-MM-DD in Japan"),
        sa.Column("content", sa.LargeBinary(), nullable=False, comment="the file, as it was proposed"),
        sa.PrimaryKeyConstraint("digest"),
    )
    for statement in append_only_ddl("editions", op.get_bind().dialect.name, (("digest",),)):
        op.execute(statement)
