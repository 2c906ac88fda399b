"""The register's first tables."""

import sqlalchemy as sa
from alembic import op

from jukinet.store.append_only import append_only_ddl

revision = "r0001"
down_revision = None


_HISTORY_KEYS = (("position",), ("resident_code", "version"), ("municipality", "epoch", "sequence"))


def upgrade() -> None:
    """Creates them in an empty database."""
    op.create_table(
        "history",
        sa.Column("position", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("resident_code", sa.String(length=11), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("municipality", sa.String(length=6), nullable=False, comment="whose seal is on it"),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False, comment="in the municipality's stream"),
        sa.Column("change", sa.LargeBinary(), nullable=False, comment="jukinet.register.v1.Change, as sealed"),
        sa.Column("applied_at", sa.BigInteger(), nullable=False, comment="microseconds since 1970, UTC"),
        sa.PrimaryKeyConstraint("position"),
        sa.UniqueConstraint("municipality", "epoch", "sequence", name="history_applied_once"),
        sa.UniqueConstraint("resident_code", "version", name="history_one_change_a_version"),
    )
    op.create_table(
        "intake_messages",
        sa.Column("message_id", sa.String(length=64), nullable=False, comment="電文番号"),
        sa.Column("digest", sa.LargeBinary(), nullable=False, comment="SHA-256 of the submission"),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("message_id"),
    )
    op.create_table(
        "marks",
        sa.Column("source", sa.Text(), nullable=False, comment="SPIFFE ID of the sender"),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("mark", sa.BigInteger(), nullable=False, comment="last sequence of the sender that is on disk here"),
        sa.Column("chain", sa.LargeBinary(), nullable=False, comment="link chain hash at the mark"),
        sa.Column(
            "center_mark", sa.BigInteger(), nullable=False, comment="last sequence of the sender on disk at the center"
        ),
        sa.Column("moved_at", sa.BigInteger(), nullable=False, comment="microseconds since 1970, UTC"),
        sa.PrimaryKeyConstraint("source"),
    )
    op.create_table(
        "origins",
        sa.Column("municipality", sa.String(length=6), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False, comment="last change in the municipality's stream"),
        sa.Column("segment_hash", sa.LargeBinary(), nullable=False, comment="SHA-256 of its last segment"),
        sa.Column("as_of", sa.BigInteger(), nullable=False, comment="microseconds since 1970, UTC"),
        sa.PrimaryKeyConstraint("municipality"),
    )
    op.create_table(
        "outbox",
        sa.Column(
            "last_sequence", sa.BigInteger(), autoincrement=False, nullable=False, comment="in this node's own stream"
        ),
        sa.Column("first_sequence", sa.BigInteger(), nullable=False),
        sa.Column("chain", sa.LargeBinary(), nullable=False, comment="link chain hash at last_sequence"),
        sa.Column("segment", sa.LargeBinary(), nullable=False, comment="jukinet.link.v1.Segment, as sealed"),
        sa.Column("seal", sa.LargeBinary(), nullable=False),
        sa.Column("traceparents", sa.Text(), nullable=False, comment="comma separated, empty without traced changes"),
        sa.Column(
            "source", sa.Text(), nullable=False, comment="SPIFFE ID of the sender it came from, empty for own changes"
        ),
        sa.Column("source_sequence", sa.BigInteger(), nullable=False, comment="last sequence in the source's stream"),
        sa.PrimaryKeyConstraint("last_sequence"),
    )
    op.create_table(
        "parked",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("resident_code", sa.String(length=11), nullable=False, comment="under which the change goes on"),
        sa.Column("municipality", sa.String(length=6), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("reason", sa.Integer(), nullable=False, comment="jukinet.errors.v1.ErrorReason"),
        sa.Column("change", sa.LargeBinary(), nullable=False, comment="jukinet.register.v1.Change, as sealed"),
        sa.Column("parked_at", sa.BigInteger(), nullable=False, comment="microseconds since 1970, UTC"),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("municipality", "epoch", "sequence", name="parked_once"),
    )
    op.create_index("parked_by_resident", "parked", ["reason", "resident_code"], unique=False)
    op.create_table(
        "residents",
        sa.Column("resident_code", sa.String(length=11), nullable=False, comment="住民票コード"),
        sa.Column("version", sa.BigInteger(), nullable=False, comment="更新順番号"),
        sa.Column("status", sa.SmallInteger(), nullable=False, comment="jukinet.register.v1.ResidentStatus"),
        sa.Column("holder", sa.String(length=6), nullable=False, comment="全国地方公共団体コード of the holder"),
        sa.Column("effective_date", sa.String(length=10), nullable=False, comment="異動年月日 YYYY-MM-DD"),
        sa.Column("birth_date", sa.String(length=10), nullable=False, comment="生年月日 YYYY-MM-DD, 00 = unknown"),
        sa.Column("sex", sa.SmallInteger(), nullable=False, comment="jukinet.register.v1.Sex"),
        sa.Column("name_key", sa.Text(), nullable=False, comment="search key of the name, never identity"),
        sa.Column("alias_key", sa.Text(), nullable=False, comment="search key of the alias, empty without one"),
        sa.Column("address_key", sa.Text(), nullable=False, comment="search key of the address"),
        sa.Column("individual_number", sa.String(length=12), nullable=False, comment="個人番号, empty without one"),
        sa.Column("resident", sa.LargeBinary(), nullable=False, comment="jukinet.register.v1.Resident"),
        sa.PrimaryKeyConstraint("resident_code"),
    )
    op.create_index("residents_by_alias", "residents", ["alias_key", "birth_date"], unique=False)
    op.create_index("residents_by_holder", "residents", ["holder", "status"], unique=False)
    op.create_index("residents_by_individual_number", "residents", ["individual_number"], unique=False)
    op.create_index("residents_by_name", "residents", ["name_key", "birth_date"], unique=False)
    op.create_table(
        "stream",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False, comment="always 1"),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("last_sequence", sa.BigInteger(), nullable=False),
        sa.Column("chain", sa.LargeBinary(), nullable=False, comment="link chain hash at last_sequence"),
        sa.Column("neighbour_mark", sa.BigInteger(), nullable=False, comment="on disk at the neighbour"),
        sa.Column("center_mark", sa.BigInteger(), nullable=False, comment="on disk at the center"),
        sa.Column("moved_at", sa.BigInteger(), nullable=False, comment="microseconds since 1970, UTC"),
        sa.PrimaryKeyConstraint("id"),
    )
    for statement in append_only_ddl("history", op.get_bind().dialect.name, _HISTORY_KEYS):
        op.execute(statement)
