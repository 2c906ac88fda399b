"""Of each used request id a digest, in a table of one tree: shorter keys, fewer pages a commit."""

import sqlalchemy as sa
from alembic import op

from agency_gateway import used_ids

revision = "g0009"
down_revision = "g0008"

_ROWS_AT_ONCE = 10_000


def upgrade() -> None:
    """Creates the table, carries over what was used, and drops the table of the ids themselves."""
    connection = op.get_bind()
    table = used_ids.used_ids
    table.create(connection)
    asked = sa.table("asked", sa.column("agency", sa.String), sa.column("request_id", sa.String))
    with connection.execute(sa.select(asked).execution_options(yield_per=_ROWS_AT_ONCE)) as ids:
        for rows in ids.partitions():
            marked = [{"digest": used_ids.digest_of(*row), "ledger_size": 0} for row in rows]
            connection.execute(sa.insert(table), marked)
    op.drop_table("asked")
