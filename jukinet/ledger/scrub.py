"""The whole ledger derived once more, part by part (再検査): what lies on the disk is what was signed.

Rule: a writer that derives the tree at its start does not see what rots afterwards, nor a body beside the tree. So
everything is read again now and then: entries against their hashes, bodies against the digests in the leaves, each
complete subtree, and each checkpoint that was signed. Nothing comes from the writer's memory, and the tree is folded
by a binary counter instead of row by row, as in `reread`: this module must not use `merkle.append`.
"""

import hashlib
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from sqlalchemy import Connection, select

from jukinet._pb.jukinet.ledger.v1.ledger_pb2 import Entry
from jukinet.ledger import body, merkle, schema, store
from jukinet.ledger.errors import LedgerCorrupt, NoteInvalid
from jukinet.ledger.note import VerifierKey, open_checkpoint


class Derived(NamedTuple):
    """How far a pass is: entries so far, and by level the complete subtree that waits for its right neighbour."""

    size: int
    waiting: tuple[bytes | None, ...]


START = Derived(0, (None,) * 64)


def derive(connection: Connection, before: Derived, end: int, verifier: VerifierKey) -> Derived:
    """Derives the entries from `before` up to `end`, and compares all that is stored of them.

    Args:
        connection: to the ledger; only read from.
        before: of the part before, or START.
        end: no more than the last checkpoint covers; some hundred entries a transaction are enough.
        verifier: the ledger's key.
    Raises LedgerCorrupt: it names the first entry, subtree or checkpoint that is not what was signed.
    """
    signed, published = _signed(connection, before.size, end)
    waiting, nodes = list(before.waiting), list[merkle.Node]()
    for index, leaf in enumerate(_leaves(connection, before.size, end), start=before.size):
        nodes += _add(waiting, leaf, index)
        size = index + 1
        if size in signed and signed[size] != _fold(waiting):
            raise LedgerCorrupt(f"Its first {size} entries do not add up to the root that was signed over them.")
        if size in published:
            _compare(published[size], size, _fold(waiting), verifier)
    store.compare_subtrees(connection, nodes, before.size, end)
    return Derived(end, tuple(waiting))


def _signed(connection: Connection, after: int, end: int) -> tuple[dict[int, bytes], dict[int, str]]:
    """Roots of the checkpoints, and notes of the published ones, by size."""
    roots, notes = schema.checkpoints.c, schema.published.c
    signed = connection.execute(select(roots.size, roots.root).where(roots.size > after, roots.size <= end))
    published = connection.execute(select(notes.size, notes.note).where(notes.size > after, notes.size <= end))
    return {row.size: row.root for row in signed}, {row.size: row.note for row in published}


def _leaves(connection: Connection, first: int, end: int) -> Iterator[bytes]:
    """Leaf hashes, from the entries themselves, once each fits what is stored beside it."""
    entries, bodies = schema.entries.c, schema.bodies.c
    rows = connection.execute(
        select(entries.leaf_index, entries.entry, entries.leaf_hash, bodies.sealed)
        .join_from(schema.entries, schema.bodies, bodies.leaf_index == entries.leaf_index, isouter=True)
        .where(entries.leaf_index >= first, entries.leaf_index < end)
        .order_by(entries.leaf_index)
    ).all()
    for index, row in enumerate(rows, start=first):
        leaf = _sha256(b"\x00" + row.entry)
        if row.leaf_index != index:
            raise LedgerCorrupt(f"Entry {index} is missing.", first_bad_index=index)
        if row.leaf_hash != leaf:
            raise LedgerCorrupt(f"Entry {index} does not have its stored hash.", first_bad_index=index)
        if Entry.FromString(row.entry).body_digest != (body.digest(row.sealed) if row.sealed else b""):
            raise LedgerCorrupt(f"The body of entry {index} is not the one that the entry binds.")
        yield leaf
    if len(rows) < end - first:
        index = first + len(rows)
        raise LedgerCorrupt(f"Entry {index} is missing.", first_bad_index=index)


def _add(waiting: list[bytes | None], leaf: bytes, index: int) -> Iterable[merkle.Node]:
    """Adds a leaf; gives the subtrees that it completes."""
    carried, level, completed = leaf, 0, list[merkle.Node]()
    while (left := waiting[level]) is not None:
        carried = _sha256(b"\x01" + left + carried)
        waiting[level] = None
        level += 1
        completed.append(merkle.Node(level, index >> level, carried))
    waiting[level] = carried
    return completed


def _fold(waiting: Iterable[bytes | None]) -> bytes:
    folded: bytes | None = None
    for digest in waiting:
        if digest is not None:
            folded = digest if folded is None else _sha256(b"\x01" + digest + folded)
    return _sha256(b"") if folded is None else folded


def _compare(note: str, size: int, root: bytes, verifier: VerifierKey) -> None:
    try:
        said = open_checkpoint(note, verifier)
    except NoteInvalid:
        raise LedgerCorrupt(f"The published checkpoint over {size} entries is not by the ledger's key.") from None
    if (said.size, said.root) != (size, root):
        raise LedgerCorrupt(f"Its first {size} entries do not add up to the checkpoint that was published.")


def _sha256(message: bytes) -> bytes:
    return hashlib.sha256(message).digest()
