"""Tables of a register node (CS, prefecture, center).

Rule 1: `history` is append-only (保存, Order art. 30-6: 150 years). Triggers in the database refuse
whatever would change or remove a row, so that no later code path can rewrite what was received. So are `set_aside` and
`operator_acts`: what two people gave up stays, with their names. So are `editions`: a law that decided is not changed.
Rule 2: sequence numbers come from the `stream` row, inside the transaction that uses them. A PostgreSQL sequence hands
numbers out before commit, and a reader would skip the one that commits late.
Rule 3: whole messages are kept as bytes; columns beside them exist only to find rows.
"""

from sqlalchemy import (
    BigInteger,
    Column,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

metadata = MetaData()

ROW_ID = BigInteger().with_variant(Integer, "sqlite")

residents = Table(
    "residents",
    metadata,
    Column("resident_code", String(11), primary_key=True, comment="住民票コード"),
    Column("version", BigInteger, nullable=False, comment="更新順番号"),
    Column("status", SmallInteger, nullable=False, comment="jukinet.register.v1.ResidentStatus"),
    Column("holder", String(6), nullable=False, comment="全国地方公共団体コード of the holder"),
    Column("effective_date", String(10), nullable=False, comment="異動年月日 YYYY-MM-DD"),
    Column("birth_date", String(10), nullable=False, comment="生年月日 YYYY-MM-DD, 00 = unknown"),
    Column("sex", SmallInteger, nullable=False, comment="jukinet.register.v1.Sex"),
    Column("name_key", Text, nullable=False, comment="search key of the name, never identity"),
    Column("alias_key", Text, nullable=False, comment="search key of the alias, empty without one"),
    Column("former_name_key", Text, comment="search key of the name with the former surname, NULL without one"),
    Column("address_key", Text, nullable=False, comment="search key of the address"),
    Column("individual_number", String(12), nullable=False, comment="個人番号, empty without one"),
    Column("resident", LargeBinary, nullable=False, comment="jukinet.register.v1.Resident"),
    Column("checksum", BigInteger, comment="CRC-32 of `resident`; NULL in a row of an earlier version"),
    Index("residents_by_name", "name_key", "birth_date"),
    Index(
        "residents_by_alias",
        "alias_key",
        "birth_date",
        sqlite_where=text("alias_key <> ''"),
        postgresql_where=text("alias_key <> ''"),
    ),
    Index(
        "residents_by_former_name",
        "former_name_key",
        "birth_date",
        sqlite_where=text("former_name_key IS NOT NULL"),
        postgresql_where=text("former_name_key IS NOT NULL"),
    ),
    Index("residents_by_individual_number", "individual_number"),
    Index("residents_by_holder", "holder", "status"),
)

search_keys = Table(
    "search_keys",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False, comment="always 1"),
    Column("version", Integer, nullable=False, comment="of the folding that made all keys of residents; 0 = in making"),
)

history = Table(
    "history",
    metadata,
    Column("position", ROW_ID, primary_key=True, autoincrement=True),
    Column("resident_code", String(11), nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("municipality", String(6), nullable=False, comment="whose seal is on it"),
    Column("epoch", BigInteger, nullable=False),
    Column("sequence", BigInteger, nullable=False, comment="in the municipality's stream"),
    Column("change", LargeBinary, nullable=False, comment="jukinet.register.v1.Change, as sealed"),
    Column("applied_at", BigInteger, nullable=False, comment="microseconds since 1970, UTC"),
    Column(
        "checksum",
        BigInteger,
        comment="CRC-32 of the row but for its position; NULL in a row of an earlier version",
    ),
    UniqueConstraint("resident_code", "version", name="history_one_change_a_version"),
    UniqueConstraint("municipality", "epoch", "sequence", name="history_applied_once"),
)

outbox = Table(
    "outbox",
    metadata,
    Column("last_sequence", BigInteger, primary_key=True, autoincrement=False, comment="in this node's own stream"),
    Column("first_sequence", BigInteger, nullable=False),
    Column("chain", LargeBinary, nullable=False, comment="link chain hash at last_sequence"),
    Column("segment", LargeBinary, nullable=False, comment="jukinet.link.v1.Segment, as sealed"),
    Column("seal", LargeBinary, nullable=False),
    Column("traceparents", Text, nullable=False, comment="comma separated, empty without traced changes"),
    Column("source", Text, nullable=False, comment="SPIFFE ID of the sender it came from, empty for own changes"),
    Column("source_sequence", BigInteger, nullable=False, comment="last sequence in the source's stream"),
    Index("outbox_by_source", "source", "source_sequence"),
)

outbox_days = Table(
    "outbox_days",
    metadata,
    Column("day", String(10), primary_key=True, comment="YYYY-MM-DD in Japan"),
    Column("last_sequence", BigInteger, nullable=False, comment="of the outbox when the node first ran on that day"),
)

stream = Table(
    "stream",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False, comment="always 1"),
    Column("epoch", BigInteger, nullable=False),
    Column("last_sequence", BigInteger, nullable=False),
    Column("chain", LargeBinary, nullable=False, comment="link chain hash at last_sequence"),
    Column("neighbour_mark", BigInteger, nullable=False, comment="on disk at the neighbour"),
    Column("center_mark", BigInteger, nullable=False, comment="on disk at the center"),
    Column("moved_at", BigInteger, nullable=False, comment="microseconds since 1970, UTC"),
)

marks = Table(
    "marks",
    metadata,
    Column("source", Text, primary_key=True, comment="SPIFFE ID of the sender"),
    Column("epoch", BigInteger, nullable=False),
    Column("mark", BigInteger, nullable=False, comment="last sequence of the sender that is on disk here"),
    Column("chain", LargeBinary, nullable=False, comment="link chain hash at the mark"),
    Column("center_mark", BigInteger, nullable=False, comment="last sequence of the sender on disk at the center"),
    Column("moved_at", BigInteger, nullable=False, comment="microseconds since 1970, UTC"),
)

origins = Table(
    "origins",
    metadata,
    Column("municipality", String(6), primary_key=True),
    Column("epoch", BigInteger, nullable=False),
    Column("sequence", BigInteger, nullable=False, comment="last change in the municipality's stream"),
    Column("segment_hash", LargeBinary, nullable=False, comment="SHA-256 of its last segment"),
    Column("as_of", BigInteger, nullable=False, comment="microseconds since 1970, UTC"),
)

brakes = Table(
    "brakes",
    metadata,
    Column("municipality", String(6), primary_key=True),
    Column("slot", BigInteger, nullable=False, comment="number of the newest five minutes since 1970"),
    Column("counts", LargeBinary, nullable=False, comment="changes, then deletions, by slot, the newest first"),
    Column("residents", BigInteger, nullable=False, comment="active ones, when they were last counted"),
    Column("counted_at", BigInteger, nullable=False, comment="microseconds since 1970, UTC"),
    Column("held_at", BigInteger, nullable=False, comment="microseconds since 1970, UTC; 0 = not held"),
    Column("lifted_until", BigInteger, nullable=False, comment="microseconds since 1970, UTC; by two operators"),
)

parked = Table(
    "parked",
    metadata,
    Column("id", ROW_ID, primary_key=True, autoincrement=True),
    Column("resident_code", String(11), nullable=False, comment="under which the change goes on"),
    Column("municipality", String(6), nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("sequence", BigInteger, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("reason", Integer, nullable=False, comment="jukinet.errors.v1.ErrorReason"),
    Column("change", LargeBinary, nullable=False, comment="jukinet.register.v1.Change, as sealed"),
    Column("parked_at", BigInteger, nullable=False, comment="microseconds since 1970, UTC"),
    UniqueConstraint("municipality", "epoch", "sequence", name="parked_once"),
    Index("parked_by_resident", "reason", "resident_code"),
    Index("parked_by_code", "resident_code", "version"),
)

set_aside = Table(
    "set_aside",
    metadata,
    Column("id", ROW_ID, primary_key=True, autoincrement=True),
    Column("resident_code", String(11), nullable=False, comment="as it was parked; empty = could not be read"),
    Column("municipality", String(6), nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("sequence", BigInteger, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("reason", Integer, nullable=False, comment="jukinet.errors.v1.ErrorReason for which it was parked"),
    Column("change", LargeBinary, nullable=False, comment="jukinet.register.v1.Change, as sealed"),
    Column("parked_at", BigInteger, nullable=False, comment="microseconds since 1970, UTC"),
    Column("proposed_by", Text, nullable=False, comment="SPIFFE ID of the first operator"),
    Column("proposed_at", BigInteger, nullable=False, comment="microseconds since 1970, UTC"),
    Column("carried_out_by", Text, nullable=False, comment="SPIFFE ID of the second operator"),
    Column("carried_out_at", BigInteger, nullable=False, comment="microseconds since 1970, UTC"),
    UniqueConstraint("municipality", "epoch", "sequence", name="set_aside_once"),
    Index("set_aside_by_resident", "resident_code", "municipality"),
)

operator_acts = Table(
    "operator_acts",
    metadata,
    Column("id", ROW_ID, primary_key=True, autoincrement=True),
    Column("act", String(16), nullable=False, comment="propose, set aside or again"),
    Column("municipality", String(6), nullable=False),
    Column("epoch", BigInteger, nullable=False, comment="of the parked change"),
    Column("sequence", BigInteger, nullable=False, comment="of the parked change"),
    Column("reason", Integer, nullable=False, comment="jukinet.errors.v1.ErrorReason that the operator looked at"),
    Column("operator", Text, nullable=False, comment="SPIFFE ID"),
    Column("acted_at", BigInteger, nullable=False, comment="microseconds since 1970, UTC"),
    Column("edition", String(64), comment="SHA-256 of the edition acted on, hexadecimal; NULL for another act"),
    Index("operator_acts_on", "municipality", "epoch", "sequence"),
)

editions = Table(
    "editions",
    metadata,
    Column("digest", String(64), primary_key=True, comment="SHA-256 of its file, hexadecimal"),
    Column("name", String(16), nullable=False, comment="such as 2026-04"),
    Column("in_force_from", String(10), nullable=False, comment="YYYY-MM-DD in Japan"),
    Column("content", LargeBinary, nullable=False, comment="the file, as it was proposed"),
)

outbox_start = Table(
    "outbox_start",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False, comment="always 1"),
    Column("sequence", BigInteger, nullable=False, comment="of the change before the oldest one in the outbox"),
    Column("chain", LargeBinary, nullable=False, comment="link chain hash there"),
)

manifests = Table(
    "manifests",
    metadata,
    Column("municipality", String(6), primary_key=True),
    Column("epoch", BigInteger, nullable=False),
    Column("sequence", BigInteger, nullable=False, comment="last change that the manifest speaks of"),
    Column("manifest", LargeBinary, nullable=False, comment="jukinet.link.v1.Manifest, as signed"),
    Column("seal", LargeBinary, nullable=False),
    Column("kept_at", BigInteger, nullable=False, comment="microseconds since 1970, UTC"),
)

snapshots = Table(
    "snapshots",
    metadata,
    Column("municipality", String(6), primary_key=True),
    Column("source", Text, nullable=False, comment="SPIFFE ID of the sender that offered it"),
    Column("manifest", LargeBinary, nullable=False, comment="jukinet.link.v1.Manifest, as signed"),
    Column("seal", LargeBinary, nullable=False),
    Column("begun", SmallInteger, nullable=False, comment="1 = something of it is in the register"),
)

snapshot_chunks = Table(
    "snapshot_chunks",
    metadata,
    Column("municipality", String(6), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("digest", LargeBinary, nullable=False),
    Column("last_sequence", BigInteger, nullable=False, comment="in the municipality's stream"),
)

intake_messages = Table(
    "intake_messages",
    metadata,
    Column("message_id", String(64), primary_key=True, comment="SHA-256 of the 電文番号, hexadecimal"),
    Column("digest", LargeBinary, nullable=False, comment="SHA-256 of the submission"),
    Column("version", BigInteger, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("sequence", BigInteger, nullable=False),
)

boot = Table(
    "boot",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False, comment="always 1"),
    Column("boot_id", String(32), nullable=False, comment="as in the file outside the database"),
)

APPEND_ONLY = ("editions", "history", "operator_acts", "set_aside")
