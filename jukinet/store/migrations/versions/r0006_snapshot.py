"""A municipality's register can come as a snapshot, and an outbox can begin later than with its first change."""

import sqlalchemy as sa
from alembic import op

revision = "r0006"
down_revision = "r0005"

_RESIDENT = (
    sa.Column("version", sa.BigInteger(), comment="更新順番号"),
    sa.Column("status", sa.SmallInteger(), comment="jukinet.register.v1.ResidentStatus"),
    sa.Column("holder", sa.String(length=6), comment="全国地方公共団体コード of the holder"),
    sa.Column("effective_date", sa.String(length=10), comment="異動年月日 YYYY-MM-DD"),
    sa.Column("birth_date", sa.String(length=10), comment="生年月日 YYYY-MM-DD, 00 = unknown"),
    sa.Column("sex", sa.SmallInteger(), comment="jukinet.register.v1.Sex"),
    sa.Column("name_key", sa.Text(), comment="search key of the name, never identity"),
    sa.Column("alias_key", sa.Text(), comment="search key of the alias, empty without one"),
    sa.Column("former_name_key", sa.Text(), comment="search key of the name with the former surname, NULL without one"),
    sa.Column("address_key", sa.Text(), comment="search key of the address"),
    sa.Column("individual_number", sa.String(length=12), comment="個人番号, empty without one"),
    sa.Column("resident", sa.LargeBinary(), comment="jukinet.register.v1.Resident"),
)


def upgrade() -> None:
    """Adds the tables: where the outbox begins, manifests that hold, and what is staged of snapshots."""
    op.create_table(
        "outbox_start",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False, comment="always 1"),
        sa.Column(
            "sequence", sa.BigInteger(), nullable=False, comment="of the change before the oldest one in the outbox"
        ),
        sa.Column("chain", sa.LargeBinary(), nullable=False, comment="link chain hash there"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "manifests",
        sa.Column("municipality", sa.String(length=6), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False, comment="last change that the manifest speaks of"),
        sa.Column("manifest", sa.LargeBinary(), nullable=False, comment="jukinet.link.v1.Manifest, as signed"),
        sa.Column("seal", sa.LargeBinary(), nullable=False),
        sa.Column("kept_at", sa.BigInteger(), nullable=False, comment="microseconds since 1970, UTC"),
        sa.PrimaryKeyConstraint("municipality"),
    )
    op.create_table(
        "snapshots",
        sa.Column("municipality", sa.String(length=6), nullable=False),
        sa.Column("source", sa.Text(), nullable=False, comment="SPIFFE ID of the sender that offered it"),
        sa.Column("manifest", sa.LargeBinary(), nullable=False, comment="jukinet.link.v1.Manifest, as signed"),
        sa.Column("seal", sa.LargeBinary(), nullable=False),
        sa.Column(
            "keys_version", sa.Integer(), nullable=False, comment="of the folding that made the staged search keys"
        ),
        sa.Column("over", sa.SmallInteger(), nullable=False, comment="1 = installed or given up: what is staged goes"),
        sa.PrimaryKeyConstraint("municipality"),
    )
    op.create_table(
        "snapshot_chunks",
        sa.Column("municipality", sa.String(length=6), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("last_sequence", sa.BigInteger(), nullable=False, comment="in the municipality's stream"),
        sa.PrimaryKeyConstraint("municipality", "number"),
    )
    op.create_table(
        "staged_residents",
        sa.Column("municipality", sa.String(length=6), nullable=False, comment="whose snapshot it is in"),
        sa.Column("resident_code", sa.String(length=11), nullable=False),
        sa.Column(
            "apart", sa.SmallInteger(), nullable=False, comment="1 = its changes go through the rules one by one"
        ),
        *_RESIDENT,
        sa.PrimaryKeyConstraint("municipality", "resident_code"),
    )
    op.create_table(
        "staged_changes",
        sa.Column("municipality", sa.String(length=6), nullable=False),
        sa.Column("sequence", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("resident_code", sa.String(length=11), nullable=False, comment="empty = could not be read"),
        sa.Column(
            "previous_code", sa.String(length=11), nullable=False, comment="empty but for a change of the resident code"
        ),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("change", sa.LargeBinary(), nullable=False, comment="jukinet.register.v1.Change, as sealed"),
        sa.PrimaryKeyConstraint("municipality", "sequence"),
    )
