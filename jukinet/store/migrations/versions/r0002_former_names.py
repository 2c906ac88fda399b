"""People are found by their former surname too, and the register says which version of the folding made its keys.

The keys themselves are made by the node when it starts (`jukinet.store.search_keys`): no row says the version yet.
"""

import sqlalchemy as sa
from alembic import op

revision = "r0002"
down_revision = "r0001"


def upgrade() -> None:
    """Adds the column, its index, and the table of the version."""
    op.add_column(
        "residents",
        sa.Column(
            "former_name_key",
            sa.Text(),
            nullable=True,
            comment="search key of the name with the former surname, NULL without one",
        ),
    )
    op.create_index(
        "residents_by_former_name",
        "residents",
        ["former_name_key", "birth_date"],
        unique=False,
        sqlite_where=sa.text("former_name_key IS NOT NULL"),
        postgresql_where=sa.text("former_name_key IS NOT NULL"),
    )
    op.create_table(
        "search_keys",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False, comment="always 1"),
        sa.Column(
            "version",
            sa.Integer(),
            nullable=False,
            comment="of the folding that made all keys of residents; 0 = in making",
        ),
        sa.PrimaryKeyConstraint("id"),
    )
