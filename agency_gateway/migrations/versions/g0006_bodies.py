"""Sealed bodies of entries, beside the tree."""

from alembic import op

from jukinet.ledger import schema

revision = "g0006"
down_revision = "g0004"


def upgrade() -> None:
    """Creates the table with its append-only triggers."""
    schema.create(op.get_bind(), (schema.bodies,))
