"""The root once more, from what the database gives back: the second code path before a checkpoint is signed.

Rule: never sign what cannot be derived again from the disk. In 2022 one flipped bit in a leaf hash ended Yeti, a log of
Certificate Transparency: its head was signed over a hash that no stored certificate had. So nothing here comes from
the writer's memory: the entries and the subtrees are read back, hashed by another library, and folded one leaf at a
time by a binary counter instead of row by row. This module must not use `merkle`.
"""

from cryptography.hazmat.primitives.hashes import SHA256, Hash
from sqlalchemy import Connection, bindparam, select

from jukinet.ledger import schema
from jukinet.store.statement import Prepared, one_of

_ENTRIES = Prepared(
    select(schema.entries.c.leaf_index, schema.entries.c.entry)
    .where(schema.entries.c.leaf_index >= bindparam("first"), schema.entries.c.leaf_index < bindparam("end"))
    .order_by(schema.entries.c.leaf_index)
)
# Two lists, not a list of pairs: SQLite answers pairs by a scan of the whole table. What is too much is dropped.
_SUBTREES = one_of(
    select(schema.subtrees.c.level, schema.subtrees.c.position, schema.subtrees.c.hash),
    levels=schema.subtrees.c.level,
    positions=schema.subtrees.c.position,
)


def roots_on_disk(connection: Connection, old: int, new: int) -> tuple[bytes, bytes] | None:
    """The roots over the first `old` and the first `new` leaves, as the database has them.

    The subtrees complete at `old` are read as hashes; the leaves from there on are hashed from their entries.
    Returns: both roots, or None when a row is missing.
    """
    counter = _subtrees_at(connection, old)
    leaves_known = old - (old & 1)
    stored = _ENTRIES.rows(connection, {"first": leaves_known, "end": new})
    if counter is None or [row[0] for row in stored] != list(range(leaves_known, new)):
        return None
    if old & 1:
        _add(counter, stored[0][1])
    old_root = _fold(counter)
    for _, entry in stored[old & 1 :]:
        _add(counter, entry)
    return old_root, _fold(counter)


def _subtrees_at(connection: Connection, size: int) -> list[bytes | None] | None:
    """The complete subtrees of level 1 and above at this size, by level; None when one is missing."""
    places = {level: (size >> level) - 1 for level in range(1, size.bit_length()) if size >> level & 1}
    counter: list[bytes | None] = [None] * 64
    values = {"levels": list(places), "positions": list(places.values())}
    for level, position, digest in _SUBTREES.rows(connection, values) if places else ():
        if places[level] == position:
            counter[level] = digest
    return counter if all(counter[level] for level in places) else None


def _add(counter: list[bytes | None], entry: bytes) -> None:
    carried = _sha256(b"\x00" + entry)
    level = 0
    while (left := counter[level]) is not None:
        carried = _sha256(b"\x01" + left + carried)
        counter[level] = None
        level += 1
    counter[level] = carried


def _fold(counter: list[bytes | None]) -> bytes:
    folded: bytes | None = None
    for digest in counter:
        if digest is not None:
            folded = digest if folded is None else _sha256(b"\x01" + digest + folded)
    return _sha256(b"") if folded is None else folded


# Copied, since to make one takes longer than to hash an entry.
_BEGUN = Hash(SHA256())


def _sha256(message: bytes) -> bytes:
    digest = _BEGUN.copy()
    digest.update(message)
    return digest.finalize()
