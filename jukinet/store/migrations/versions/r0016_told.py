"""Up to which position of the history an agency's list was told."""

import sqlalchemy as sa
from alembic import op

revision = "r0016"
down_revision = "r0015"


def upgrade() -> None:
    """Adds the position; lists that are there may have been told all that was looked through."""
    op.add_column(
        "watch_lists",
        sa.Column(
            "told",
            sa.BigInteger(),
            nullable=False,
            server_default="0",
            comment="position up to which it may have been told",
        ),
    )
    op.execute("UPDATE watch_lists SET told = (SELECT position FROM watch_mark)")
