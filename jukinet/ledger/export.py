"""The ledger as a file that anyone can check offline.

UTF-8 JSON lines without blanks, one spelling each:

- header: `{"format":"jukinet-ledger/1","origin":…,"checkpoint":…}`, the checkpoint being the last one;
- an entry: `{"i":index,"e":base64 of the entry,"h":base64 of its leaf hash}`, indexes from 0 without a gap;
- between entries, an earlier checkpoint: `{"c":note}`, right after the last entry that it covers.

The leaf hashes and earlier checkpoints prove nothing that the last checkpoint does not. They say *where* a changed
ledger was changed: an earlier checkpoint is signed, and bounds the place from below.
"""

import base64
import json
from collections.abc import Iterable, Iterator
from typing import TextIO

from sqlalchemy import Connection, Table, inspect, select

from jukinet.ledger import merkle, schema
from jukinet.ledger.store import latest_checkpoint

FORMAT = "jukinet-ledger/1"
_CHUNK = 2000


def export(entries: Iterable[bytes], checkpoint: str, file: TextIO, *, earlier: Iterable[str] = ()) -> None:
    """Writes a ledger file from entries, as an auditor has them.

    Args:
        entries: all the entries that `checkpoint` covers, in order.
        checkpoint: the last signed checkpoint.
        file: opened for text as UTF-8 with newline="\\n".
        earlier: earlier signed checkpoints, by rising size.
    """
    _write(((leaf, merkle.leaf_hash(leaf)) for leaf in entries), checkpoint, file, earlier)


def export_database(connection: Connection, file: TextIO) -> None:
    """Writes a ledger file from the database: entries with their stored hashes, and every checkpoint.

    Checkpoints that were published stand there with their cosignatures.

    Args:
        connection: to the ledger; entries that are appended meanwhile are left out.
        file: opened for text as UTF-8 with newline="\\n".
    Raises LedgerCorrupt when the ledger has no checkpoint.
    """
    checkpoint = latest_checkpoint(connection)
    size = _size(checkpoint)
    notes = _signed(connection, schema.checkpoints, size)
    if inspect(connection).has_table(schema.published.name):  # not in a database of an older schema
        notes |= _signed(connection, schema.published, size)
    last = notes.pop(size)
    _write(_stored(connection, size), last, file, [notes[each] for each in sorted(notes)])


def _signed(connection: Connection, table: Table, last: int) -> dict[int, str]:
    """The notes of a table by size, the empty tree's left out unless it is the last one."""
    chosen = select(table.c.size, table.c.note).where(table.c.size <= last)
    return {size: note for size, note in connection.execute(chosen) if size > 0 or last == 0}


def _write(leaves: Iterable[tuple[bytes, bytes]], checkpoint: str, file: TextIO, earlier: Iterable[str]) -> None:
    _line(file, {"format": FORMAT, "origin": checkpoint.split("\n", 1)[0], "checkpoint": checkpoint})
    notes = iter(earlier)
    note = next(notes, None)
    for index, (leaf, digest) in enumerate(leaves):
        _line(file, {"i": index, "e": base64.b64encode(leaf).decode(), "h": base64.b64encode(digest).decode()})
        while note is not None and _size(note) <= index + 1:
            _line(file, {"c": note})
            note = next(notes, None)


def _stored(connection: Connection, end: int) -> Iterator[tuple[bytes, bytes]]:
    table, after = schema.entries, -1
    ordered = select(table).where(table.c.leaf_index < end).order_by(table.c.leaf_index).limit(_CHUNK)
    while rows := connection.execute(ordered.where(table.c.leaf_index > after)).all():
        yield from ((row.entry, row.leaf_hash) for row in rows)
        after = rows[-1].leaf_index


def _size(note: str) -> int:
    return int(note.split("\n", 2)[1])


def _line(file: TextIO, content: dict[str, object]) -> None:
    file.write(json.dumps(content, ensure_ascii=False, separators=(",", ":")) + "\n")
