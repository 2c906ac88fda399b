"""Published checkpoints: those that a quorum of witnesses (立会人) cosigned, and what each witness saw.

Rule: persist, then witness, then publish. A checkpoint is on this ledger's disk before a witness sees it, and what is
shown to auditors is a checkpoint that a quorum saw. Rows of published checkpoints are added and never changed.

Each witness's last size is kept beside them: a witness that later knows less than that lost its database.
"""

from collections.abc import Mapping

from sqlalchemy import Connection, bindparam, select

from jukinet.ledger import merkle, schema, store
from jukinet.ledger.errors import LedgerContradicted
from jukinet.ledger.note import Checkpoint
from jukinet.store.statement import Prepared, add, keep

_LAST = Prepared(
    select(schema.published.c.size, schema.published.c.note).order_by(schema.published.c.size.desc()).limit(1)
)
_OF_SIZE = Prepared(select(schema.published.c.size).where(schema.published.c.size == bindparam("size")))
_ADD = add(schema.published)
_SEEN = Prepared(select(schema.witnesses.c.key, schema.witnesses.c.size))
_KEEP_SEEN = keep(schema.witnesses, "key")


def latest(connection: Connection) -> tuple[int, str] | None:
    """Size and note of the last published checkpoint; None before the first one."""
    row = _LAST.row(connection)
    return (row[0], row[1]) if row else None


def publish(connection: Connection, size: int, note: str, seen: Mapping[str, int]) -> None:
    """Keeps a checkpoint that a quorum cosigned, in the caller's transaction. One that is there already stays as it is.

    Args:
        size: of its tree.
        note: with the ledger's signature and the cosignatures.
        seen: by the public key of a witness, the size of the latest checkpoint that it cosigned.
    """
    if _OF_SIZE.row(connection, {"size": size}) is None:
        _ADD.write(connection, [{"size": size, "note": note}])
    _KEEP_SEEN.write(connection, [{"key": key, "size": last} for key, last in seen.items()])


def seen_by(connection: Connection) -> dict[str, int]:
    """By the public key of each witness, the size of the latest checkpoint that it is known to have cosigned."""
    return {row[0]: row[1] for row in _SEEN.rows(connection)}


def require_ours(connection: Connection, held: Checkpoint, witness: str) -> None:
    """Makes sure that this database leads to a checkpoint that a witness holds and this ledger's key signed.

    Args:
        held: as the witness gave it, signature verified.
        witness: its name, for the text.
    Raises:
        LedgerContradicted: it has more entries than the database, or another root.
    """
    here = store.covered_size(connection)
    if held.size > here:
        raise LedgerContradicted(f"{witness} saw {held.size} entries, the database has {here}.")
    if root_at(connection, held.size) != held.root:
        raise LedgerContradicted(f"{witness} saw another tree of {held.size} entries.")


def root_at(connection: Connection, size: int) -> bytes:
    """Root over the first `size` entries, from the stored subtrees. Raises LedgerCorrupt when one is missing."""
    return merkle.range_root(0, size, store.node_reader(connection)) if size else merkle.EMPTY_ROOT
