"""Up to when each ledger was known when usage was told. Earlier answers hold until their checkpoints came."""

from alembic import op

from jukinet.disclosure import schema

revision = "d0004"
down_revision = "d0003"


def upgrade() -> None:
    """Creates the table with its append-only triggers."""
    schema.create(op.get_bind(), (schema.looks,))
