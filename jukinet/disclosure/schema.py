"""Tables of the disclosure node: the mirrored ledgers, and which usage was told when. Nobody's record.

Rule: rows are added, never changed and never removed; triggers in the database see to it. A resident stands here as a
keyed digest of the node's own (`subject`), which stands in no ledger.
"""

from collections.abc import Sequence

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Connection,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    text,
)

from jukinet.store.append_only import append_only_ddl, keys_of

metadata = MetaData()

_NUMBER = BigInteger().with_variant(Integer, "sqlite")
_ORIGIN = String(255)

entries = Table(
    "mirrored_entries",
    metadata,
    Column("origin", _ORIGIN, primary_key=True, comment="first line of the ledger's checkpoints"),
    Column("leaf_index", _NUMBER, primary_key=True, autoincrement=False),
    Column("entry", LargeBinary, nullable=False, comment="jukinet.ledger.v1.Entry, as signed"),
    Column("leaf_hash", LargeBinary, nullable=False),
    Column("token", LargeBinary, nullable=False, comment="of the person; empty where nobody was found"),
    CheckConstraint("length(leaf_hash) = 32", name="mirrored_entries_hash"),
    Index("mirrored_entries_token", "token"),
)

seals = Table(
    "mirrored_seals",
    metadata,
    Column("origin", _ORIGIN, primary_key=True),
    Column("leaf_index", _NUMBER, primary_key=True, autoincrement=False, comment="of a sealed entry"),
    Column("day", String(10), nullable=False, comment="of the entry, in Japan, ISO 8601"),
    Index("mirrored_seals_day", "day"),
)

subtrees = Table(
    "mirrored_subtrees",
    metadata,
    Column("origin", _ORIGIN, primary_key=True),
    Column("level", Integer, primary_key=True, autoincrement=False, comment="1 and above"),
    Column("position", _NUMBER, primary_key=True, autoincrement=False),
    Column("hash", LargeBinary, nullable=False, comment="of the complete subtree"),
    CheckConstraint("length(hash) = 32", name="mirrored_subtrees_hash"),
)

checkpoints = Table(
    "mirrored_checkpoints",
    metadata,
    Column("origin", _ORIGIN, primary_key=True),
    Column("size", _NUMBER, primary_key=True, autoincrement=False),
    Column("note", Text, nullable=False, comment="cosigned by a quorum; all its entries are here"),
    Column("verified_at", _NUMBER, nullable=False, comment="microseconds since 1970"),
)

contradictions = Table(
    "mirrored_contradictions",
    metadata,
    Column("origin", _ORIGIN, primary_key=True),
    Column("shown_at", _NUMBER, primary_key=True, autoincrement=False, comment="microseconds since 1970"),
    Column("size", _NUMBER, nullable=False, comment="entries that were verified here"),
    Column("note", Text, nullable=False, comment="what the ledger showed; evidence, if its signature holds"),
    Column("why", Text, nullable=False),
)

usages = Table(
    "usages",
    metadata,
    Column("subject", LargeBinary, primary_key=True, comment="keyed digest of the resident code"),
    Column("day", String(10), primary_key=True, comment="in Japan, ISO 8601"),
    Column("check_id", String(36), nullable=False, unique=True),
    Column("first_day", String(10), nullable=False),
    Column("last_day", String(10), nullable=False),
    Column("made_at", _NUMBER, nullable=False, comment="microseconds since 1970"),
)

searched = Table(
    "usage_ledgers",
    metadata,
    Column("check_id", String(36), primary_key=True),
    Column("origin", _ORIGIN, primary_key=True),
    Column("size", _NUMBER, nullable=False),
    Column("contradicted", Boolean, nullable=False),
)

looks = Table(
    "usage_looks",
    metadata,
    Column("check_id", String(36), primary_key=True),
    Column("origin", _ORIGIN, primary_key=True),
    Column("verified_at", _NUMBER, nullable=False, comment="up to when the answer holds, microseconds since 1970"),
)

requests = Table(
    "requests",
    metadata,
    Column("request_id", String(36), primary_key=True, comment="id of the check with which it was made"),
    Column("kind", Integer, nullable=False, comment="jukinet.disclosure.v1.RequestKind"),
    Column("counter", String(255), nullable=False, comment="SPIFFE ID"),
    Column("subject", LargeBinary, nullable=False, comment="keyed digest of the resident code"),
    Column("disclosed_by", String(36), nullable=False, comment="of a correction: the request that was answered"),
    Column("document", String(40), nullable=False, comment="of a correction: number of the resident's letter"),
    Column("received_on", String(10), nullable=False, comment="in Japan, ISO 8601"),
)

request_steps = Table(
    "request_steps",
    metadata,
    Column("request_id", String(36), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False, comment="from 1"),
    Column("state", Integer, nullable=False, comment="jukinet.disclosure.v1.RequestState"),
    Column("day", String(10), nullable=False, comment="in Japan, ISO 8601"),
    Column("due_on", String(10), nullable=False, comment="last day of the term after the step"),
    Column(
        "reason",
        Integer,
        nullable=False,
        comment="by state: ExtensionReason, CorrectionOutcome or CloseReason; 0 = none",
    ),
    Column("document", String(40), nullable=False, comment="number of the letter or file"),
    Column("check_id", String(36), nullable=False, comment="of the check of identity; empty where none is needed"),
)


def create(connection: Connection, tables: Sequence[Table]) -> None:
    """Creates tables with their indexes and append-only triggers."""
    metadata.create_all(connection, tables=list(tables))
    for table in tables:
        for statement in append_only_ddl(table.name, connection.dialect.name, keys_of(table)):
            connection.execute(text(statement))
