"""Tables of the ledger database (gateway).

Rule: rows are added, never changed and never removed. Triggers in the database refuse UPDATE, DELETE, TRUNCATE and the
REPLACE of SQLite, so that no later code path can rewrite what was signed. One table moves on: how far each witness is.
"""

from collections.abc import Iterable, Sequence

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Connection,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    text,
)

from jukinet.store.append_only import append_only_ddl, keys_of

metadata = MetaData()

_INDEX = BigInteger().with_variant(Integer, "sqlite")

entries = Table(
    "ledger_entries",
    metadata,
    Column("leaf_index", _INDEX, primary_key=True, autoincrement=False),
    Column("entry", LargeBinary, nullable=False, comment="jukinet.ledger.v1.Entry, as signed"),
    Column("leaf_hash", LargeBinary, nullable=False),
    CheckConstraint("leaf_index >= 0", name="ledger_entries_index"),
    CheckConstraint("length(leaf_hash) = 32", name="ledger_entries_hash"),
)

subtrees = Table(
    "ledger_subtrees",
    metadata,
    Column("level", Integer, primary_key=True, autoincrement=False, comment="1 and above; the leaves are level 0"),
    Column("position", _INDEX, primary_key=True, autoincrement=False),
    Column("hash", LargeBinary, nullable=False, comment="of the complete subtree"),
    CheckConstraint("level > 0 AND position >= 0", name="ledger_subtrees_place"),
    CheckConstraint("length(hash) = 32", name="ledger_subtrees_hash"),
    sqlite_with_rowid=False,
)

checkpoints = Table(
    "ledger_checkpoints",
    metadata,
    Column("size", _INDEX, primary_key=True, autoincrement=False, comment="a size is signed once"),
    Column("root", LargeBinary, nullable=False),
    Column("note", Text, nullable=False, comment="C2SP signed note"),
    CheckConstraint("size >= 0", name="ledger_checkpoints_size"),
    CheckConstraint("length(root) = 32", name="ledger_checkpoints_root"),
)

published = Table(
    "ledger_published",
    metadata,
    Column("size", _INDEX, primary_key=True, autoincrement=False),
    Column("note", Text, nullable=False, comment="the checkpoint of this size, with the cosignatures of a quorum"),
    CheckConstraint("size >= 0", name="ledger_published_size"),
)

bodies = Table(
    "ledger_bodies",
    metadata,
    Column("leaf_index", _INDEX, primary_key=True, autoincrement=False),
    Column("sealed", LargeBinary, nullable=False, comment="jukinet.body.v1.SealedBody, whose SHA-256 the entry holds"),
    CheckConstraint("leaf_index >= 0", name="ledger_bodies_index"),
)

witnesses = Table(
    "ledger_witnesses",
    metadata,
    Column("key", Text, primary_key=True, comment="public key of a witness"),
    Column("size", _INDEX, nullable=False, comment="of the latest checkpoint that it cosigned; moves on"),
    CheckConstraint("size >= 0", name="ledger_witnesses_size"),
)

_APPEND_ONLY = (entries, subtrees, checkpoints, published, bodies)
append_only_tables = tuple(table.name for table in _APPEND_ONLY)
FOUNDING = (entries, subtrees, checkpoints)
"""The tables with which every ledger begins; the others came later."""


def trigger_ddl(dialect_name: str, tables: Iterable[Table] = _APPEND_ONLY) -> list[str]:
    """Statements that make the ledger's tables append-only; to be run once, after the tables exist.

    Args:
        dialect_name: SQLAlchemy's, "sqlite" or "postgresql".
        tables: which of them.
    Raises ValueError for any other database.
    """
    return [
        statement
        for table in tables
        if table in _APPEND_ONLY
        for statement in append_only_ddl(table.name, dialect_name, keys_of(table))
    ]


def create(connection: Connection, tables: Sequence[Table] | None = None) -> None:
    """Creates tables and their triggers, where none of them is yet; all of them if None."""
    made = metadata.sorted_tables if tables is None else tables
    metadata.create_all(connection, tables=made)
    for statement in trigger_ddl(connection.dialect.name, made):
        connection.execute(text(statement))
