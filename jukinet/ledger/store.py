"""The ledger in its database: load, append, prove.

Rules:

1. One tree, one line of checkpoints. A checkpoint is signed only over a tree that begins with the last signed one, and
   never twice for one size: the database holds one row a size, and an append starts from the last row or not at all.
2. Before a checkpoint is signed, the batch is read back and its root derived a second time (`reread`).
3. Entries, subtrees and checkpoint of a batch are one transaction, the caller's. A receipt must not leave before that
   transaction is committed; if it is rolled back, the state before it stays the true one.
4. A writer that cannot derive the last checkpoint again from the rows does not start.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from sqlalchemy import Connection, Table, func, or_, select
from sqlalchemy.exc import IntegrityError

from jukinet._pb.jukinet.ledger.v1 import ledger_pb2
from jukinet.ledger import layout, merkle, schema
from jukinet.ledger.errors import EntryInvalid, LedgerCorrupt, LedgerDiverged
from jukinet.ledger.note import Checkpoint, Signer, open_checkpoint, sign_checkpoint
from jukinet.ledger.reread import roots_on_disk
from jukinet.store.statement import Prepared, Row, Rows

_LOAD_CHUNK = 4096
_LAST_CHECKPOINT = Prepared(
    select(schema.checkpoints.c.size, schema.checkpoints.c.root, schema.checkpoints.c.note)
    .order_by(schema.checkpoints.c.size.desc())
    .limit(1)
)
_ADD = {
    table: Rows(table, [column.name for column in table.c])
    for table in (schema.entries, schema.subtrees, schema.checkpoints)
}


class LedgerState(NamedTuple):
    """What a writer keeps between two appends: the tree's frontier and the last signed checkpoint."""

    frontier: merkle.Frontier
    checkpoint: str


class _Signed(NamedTuple):
    """A row of the checkpoints."""

    size: int
    root: bytes
    note: str


def load(connection: Connection, signer: Signer) -> LedgerState:
    """The state of the ledger, derived again from every entry; on an empty database, a new ledger.

    Reads the whole ledger, about 6 us an entry. On an empty database the checkpoint of the empty tree is signed and
    stored in the caller's transaction.

    Raises:
        NoteInvalid: the last checkpoint is not signed by this key.
        LedgerCorrupt: rows and checkpoint do not fit together; `first_bad_index` names the first bad entry, if known.
        LedgerDiverged: another writer appended meanwhile.
    """
    last = _last_checkpoint(connection)
    if last is None:
        return _found(connection, signer)
    signed = open_checkpoint(last.note, signer.verifier)
    if (last.size, last.root) != (signed.size, signed.root):
        raise LedgerCorrupt("The checkpoint's columns differ from its note.")
    try:
        return LedgerState(_derive(connection, signed), last.note)
    except LedgerCorrupt:
        # Without one snapshot for all statements, a commit by another writer in between looks like damage.
        if _last_checkpoint(connection) != last:
            raise LedgerDiverged("Another writer appended meanwhile.") from None
        raise


def append(
    connection: Connection, state: LedgerState, entries: Sequence[bytes], signer: Signer
) -> tuple[LedgerState, list[ledger_pb2.Receipt]]:
    """Adds entries, in order, and signs the new tree.

    Args:
        connection: in a transaction that the caller commits before it uses the result.
        state: of `load` or of the last committed append.
        entries: leaves of `layout.encode`, any number; none changes nothing.
        signer: the key that signed `state`.
    Returns: the new state, and one receipt an entry.
    Raises:
        EntryInvalid: one of the entries breaks the layout.
        LedgerDiverged: the database is not at `state`.
        LedgerCorrupt: what was read back is not what was written.
    """
    if not entries:
        return state, []
    for position, leaf in enumerate(entries):
        _check(leaf, position)
    _require_at(connection, state)
    leaves = [merkle.leaf_hash(leaf) for leaf in entries]
    growth = merkle.append(state.frontier, leaves)
    _insert(connection, state.frontier.size, entries, leaves, growth)
    on_disk = roots_on_disk(connection, state.frontier.size, growth.frontier.size)
    if on_disk != (merkle.root_of(state.frontier), growth.root):
        raise LedgerCorrupt("The batch read back from the database has another root than the one written.")
    checkpoint = sign_checkpoint(signer, growth.frontier.size, growth.root)
    _insert_or_diverge(connection, schema.checkpoints, [_Signed(growth.frontier.size, growth.root, checkpoint)])
    receipts = [
        ledger_pb2.Receipt(index=index, entry=leaf, proof=proof, checkpoint=checkpoint)
        for index, (leaf, proof) in enumerate(zip(entries, growth.proofs, strict=True), start=state.frontier.size)
    ]
    return LedgerState(growth.frontier, checkpoint), receipts


def latest_checkpoint(connection: Connection) -> str:
    """The last signed checkpoint. Raises LedgerCorrupt when there is none, since `load` always leaves one."""
    last = _last_checkpoint(connection)
    if last is None:
        raise LedgerCorrupt("It has no checkpoint.")
    return last.note


def covered_size(connection: Connection) -> int:
    """How many entries the last checkpoint covers."""
    return connection.execute(select(func.max(schema.checkpoints.c.size))).scalar() or 0


def read_entries(connection: Connection, first: int, end: int) -> list[bytes]:
    """The entries from index `first` up to, not including, `end`, as far as they exist."""
    table = schema.entries
    rows = connection.execute(
        select(table.c.entry).where(table.c.leaf_index >= first, table.c.leaf_index < end).order_by(table.c.leaf_index)
    )
    return list(rows.scalars())


def inclusion_proof(connection: Connection, index: int, size: int) -> list[bytes]:
    """Proof of entry `index` towards the tree of `size` entries. Raises ProofImpossible."""
    return merkle.inclusion_proof(index, size, node_reader(connection))


def consistency_proof(connection: Connection, old: int, new: int) -> list[bytes]:
    """Proof that the tree of `new` entries begins with that of `old` entries. Raises ProofImpossible."""
    return merkle.consistency_proof(old, new, node_reader(connection))


def _check(leaf: bytes, position: int) -> None:
    try:
        layout.decode(leaf)
    except EntryInvalid as error:
        raise EntryInvalid(f"Entry {position} of the batch: {error}") from None


def _found(connection: Connection, signer: Signer) -> LedgerState:
    if _count(connection, schema.entries) or _count(connection, schema.subtrees):
        raise LedgerCorrupt("It holds entries but no checkpoint.", first_bad_index=0)
    checkpoint = sign_checkpoint(signer, 0, merkle.EMPTY_ROOT)
    _insert_or_diverge(connection, schema.checkpoints, [_Signed(0, merkle.EMPTY_ROOT, checkpoint)])
    return LedgerState(merkle.EMPTY, checkpoint)


def _derive(connection: Connection, signed: Checkpoint) -> merkle.Frontier:
    """The frontier over all entries, once they and the stored subtrees give the signed tree. Raises LedgerCorrupt."""
    frontier = merkle.EMPTY
    for first, leaves in _leaf_chunks(connection):
        growth = merkle.append(frontier, leaves)
        compare_subtrees(connection, growth.subtrees, first, first + len(leaves))
        frontier = growth.frontier
    if frontier.size != signed.size:
        raise LedgerCorrupt(
            f"It holds {frontier.size} entries, signed are {signed.size}.",
            first_bad_index=min(frontier.size, signed.size),
        )
    if merkle.root_of(frontier) != signed.root:
        raise LedgerCorrupt("The entries do not add up to the signed root.")
    if _count(connection, schema.subtrees) != frontier.size - len(frontier.peaks):
        raise LedgerCorrupt("It holds subtrees of another tree.")
    return frontier


def _require_at(connection: Connection, state: LedgerState) -> None:
    last = _last_checkpoint(connection)
    if last != _Signed(state.frontier.size, merkle.root_of(state.frontier), state.checkpoint):
        raise LedgerDiverged("The last checkpoint on disk is another.")


def _insert(
    connection: Connection, first: int, entries: Sequence[bytes], leaves: Sequence[bytes], growth: merkle.Growth
) -> None:
    indexes = range(first, first + len(leaves))
    _insert_or_diverge(connection, schema.entries, list(zip(indexes, entries, leaves, strict=True)))
    _insert_or_diverge(connection, schema.subtrees, growth.subtrees)


def _insert_or_diverge(connection: Connection, table: Table, rows: Sequence[Row]) -> None:
    try:
        _ADD[table].write(connection, rows)
    except IntegrityError:
        # The driver's text quotes the row. A place that is taken means that another writer was here.
        raise LedgerDiverged(f"Table {table.name} already holds such a row.") from None


def _leaf_chunks(connection: Connection) -> Iterator[tuple[int, list[bytes]]]:
    """Index of the first and leaf hashes of each run of entries, hashed from the entries themselves."""
    table, first = schema.entries, 0
    ordered = select(table).order_by(table.c.leaf_index).limit(_LOAD_CHUNK)
    while rows := connection.execute(ordered.where(table.c.leaf_index >= first)).all():
        leaves = [merkle.leaf_hash(row.entry) for row in rows]
        for expected, (row, leaf) in enumerate(zip(rows, leaves, strict=True), start=first):
            if row.leaf_index != expected:
                raise LedgerCorrupt(f"Entry {expected} is missing.", first_bad_index=expected)
            if row.leaf_hash != leaf:
                raise LedgerCorrupt(f"Entry {expected} does not have its stored hash.", first_bad_index=expected)
        yield first, leaves
        first += len(rows)


def compare_subtrees(connection: Connection, derived: list[merkle.Node], first: int, end: int) -> None:
    """Checks the stored subtrees that the leaves from `first` up to `end` complete."""
    table = schema.subtrees
    levels = range(1, end.bit_length())
    spans = [
        (table.c.level == level) & (table.c.position >= first >> level) & (table.c.position < end >> level)
        for level in levels
        if first >> level < end >> level
    ]
    if not spans:
        return
    stored = {(row.level, row.position): row.hash for row in connection.execute(select(table).where(or_(*spans)))}
    # In the order in which they became complete, so that the narrowest run that is wrong is named.
    for node in sorted(derived, key=lambda node: ((node.position + 1) << node.level, node.level)):
        if stored.get((node.level, node.position)) != node.hash:
            begin, stop = node.position << node.level, (node.position + 1) << node.level
            raise LedgerCorrupt(f"Entries {begin} to {stop - 1} do not have their stored subtree hash.")


def _last_checkpoint(connection: Connection) -> _Signed | None:
    row = _LAST_CHECKPOINT.row(connection)
    return _Signed(*row) if row else None


def _count(connection: Connection, table: Table) -> int:
    return connection.execute(select(func.count()).select_from(table)).scalar_one()


def node_reader(connection: Connection) -> merkle.ReadNode:
    """Gives the stored hashes of complete subtrees, leaves included; raises LedgerCorrupt for one that is missing."""
    leaf = schema.entries
    node = schema.subtrees

    def read(level: int, position: int) -> bytes:
        if level == 0:
            wanted = select(leaf.c.leaf_hash).where(leaf.c.leaf_index == position)
        else:
            wanted = select(node.c.hash).where(node.c.level == level, node.c.position == position)
        stored = connection.execute(wanted).scalar_one_or_none()
        if stored is None:
            raise LedgerCorrupt(f"The subtree at level {level}, position {position} is missing.")
        return bytes(stored)

    return read
