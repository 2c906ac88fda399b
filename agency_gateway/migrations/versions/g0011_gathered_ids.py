"""The ids of the last entries stand in their entries alone: an earlier version would take them for new, and must not
run on this database again.
"""

from alembic import op

from agency_gateway.used_ids import used_ids

revision = "g0011"
down_revision = "g0010"


def upgrade() -> None:
    """Says what the number beside an id means; the rows are right as they are."""
    if op.get_bind().dialect.name == "postgresql":
        op.alter_column("used_ids", "ledger_size", comment=used_ids.c.ledger_size.comment)
