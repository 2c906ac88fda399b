"""Published checkpoints, and how far each witness is."""

from alembic import op

from jukinet.ledger import schema

revision = "g0002"
down_revision = "g0001"


def upgrade() -> None:
    """Creates the tables, the first with its append-only triggers."""
    schema.create(op.get_bind(), (schema.published, schema.witnesses))
