"""The mirrored ledgers, the usage that was told, and the ledger of the node's own acts."""

from alembic import op

from jukinet.disclosure import schema
from jukinet.ledger import schema as ledger

revision = "d0001"
down_revision = None


def upgrade() -> None:
    """Creates the tables with their append-only triggers."""
    ledger.create(op.get_bind(), ledger.FOUNDING)
    schema.create(
        op.get_bind(),
        (
            schema.entries,
            schema.subtrees,
            schema.checkpoints,
            schema.contradictions,
            schema.usages,
            schema.searched,
        ),
    )
