"""Operators of agencies whom gateways froze; empty at every tier but the center."""

import sqlalchemy as sa
from alembic import op

revision = "r0018"
down_revision = "r0017"


def upgrade() -> None:
    """Adds them, empty: each gateway declares its own when it is started."""
    op.create_table(
        "frozen_operators",
        sa.Column("gateway", sa.String(length=255), nullable=False, comment="SPIFFE ID"),
        sa.Column("agency", sa.String(length=255), nullable=False, comment="SPIFFE ID"),
        sa.Column("pseudonym", sa.LargeBinary(), nullable=False, comment="of the operator in the gateway's ledger"),
        sa.Column(
            "operator", sa.LargeBinary(), nullable=False, comment="keyed digest; empty where his id was never known"
        ),
        sa.Column("detector", sa.SmallInteger(), nullable=False, comment="jukinet.admin.v1.Detector"),
        sa.Column("declared_at", sa.BigInteger(), nullable=False, comment="us since 1970"),
        sa.PrimaryKeyConstraint("gateway", "agency", "pseudonym"),
    )
