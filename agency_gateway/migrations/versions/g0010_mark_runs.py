"""Recall marks are found in runs, in the place of an index that wrote a page for nearly each answer.

The runs of answers that are on record already are gathered by the running gateway; until then their rows are looked
through.
"""

from alembic import op

from agency_gateway.provided import mark_runs

revision = "g0010"
down_revision = "g0009"


def upgrade() -> None:
    """Creates the table and drops the index."""
    mark_runs.create(op.get_bind())
    op.drop_index("provided_by_mark", "provided")
