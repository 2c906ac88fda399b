"""The entries of recalls of sealed answers wait for the day of the seal; those that are on record stay there."""

from alembic import op

from agency_gateway.held_back import held_back

revision = "g0012"
down_revision = "g0011"


def upgrade() -> None:
    """Creates the table of what waits."""
    held_back.create(op.get_bind())
