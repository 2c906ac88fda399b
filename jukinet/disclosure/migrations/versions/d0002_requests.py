"""Residents' requests for their own record and its correction, and the steps of each."""

from alembic import op

from jukinet.disclosure import schema

revision = "d0002"
down_revision = "d0001"


def upgrade() -> None:
    """Creates the tables with their append-only triggers."""
    schema.create(op.get_bind(), (schema.requests, schema.request_steps))
