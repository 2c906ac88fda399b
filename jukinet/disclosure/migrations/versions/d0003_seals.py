"""Which mirrored entries are sealed (封印), and of which day they are. No earlier entry is."""

from alembic import op

from jukinet.disclosure import schema

revision = "d0003"
down_revision = "d0002"


def upgrade() -> None:
    """Creates the table with its append-only triggers."""
    schema.create(op.get_bind(), (schema.seals,))
